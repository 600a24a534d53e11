//! [`Pipelines`]: what a device keeps from run to run: compiled pipelines, bind groups, the buffer of
//! the parameters.

use std::{collections::HashMap, sync::Arc};

use super::{
    kernel::{Access, Kernel, PipelineKey},
    kernels::recurrence::EXCHANGE_WORDS,
    recorder::{SLOT_BYTES, SLOTS, View},
};
use crate::error::{self, Error, Result};

/// A compiled kernel.
#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(crate) kernel: &'static Kernel,
    pub(crate) pipeline: wgpu::ComputePipeline,
}

/// A pipeline with its buffers, ready to dispatch.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) group: wgpu::BindGroup,
}

type GroupKey = (&'static str, Vec<(wgpu::Buffer, u64, u64)>);

/// The pipelines of one device, compiled when first asked for.
#[derive(Debug)]
pub(crate) struct Pipelines {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) limits: wgpu::Limits,
    /// Whether kernels that have eight lanes of a subgroup read and hand on are the faster ones: on drivers that
    /// compute on the CPU.
    pub(crate) hands: bool,
    /// Rounds after which the driver ends all loops of an invocation, without a word.
    pub(crate) loop_rounds: usize,
    /// Where every dispatch of a submission finds its parameters, one slot each.
    pub(crate) params: wgpu::Buffer,
    /// Bound where a kernel reads nothing.
    empty: wgpu::Buffer,
    /// Bound where a kernel writes nothing; another buffer, since one buffer is either read or written.
    unwritten: wgpu::Buffer,
    /// Through which the workgroups of a cooperative recurrence tell each other; made when first asked for.
    exchange: Option<wgpu::Buffer>,
    /// Whether this run uses it.
    has_exchanged: bool,
    /// What the driver compiled in earlier processes, where there is such a cache.
    pub(crate) cache: Option<wgpu::PipelineCache>,
    adapter: String,
    layouts: HashMap<&'static str, (wgpu::BindGroupLayout, wgpu::PipelineLayout)>,
    pipelines: HashMap<PipelineKey, Arc<Pipeline>>,
    groups: HashMap<GroupKey, wgpu::BindGroup>,
}

impl Pipelines {
    pub(crate) fn new(device: &wgpu::Device, queue: &wgpu::Queue) -> Self {
        let buffer = |label, size, usage| {
            device.create_buffer(&wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false })
        };
        Self {
            params: buffer(
                "parameters",
                SLOTS as u64 * SLOT_BYTES,
                wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            ),
            empty: buffer("empty", 256, wgpu::BufferUsages::STORAGE),
            unwritten: buffer("unwritten", 256, wgpu::BufferUsages::STORAGE),
            hands: false,
            loop_rounds: usize::MAX,
            exchange: None,
            has_exchanged: false,
            cache: None,
            adapter: device.adapter_info().name,
            limits: device.limits(),
            device: device.clone(),
            queue: queue.clone(),
            layouts: HashMap::new(),
            pipelines: HashMap::new(),
            groups: HashMap::new(),
        }
    }

    /// The words of [`recurrence::COOPERATIVE`](super::kernels::recurrence::COOPERATIVE).
    ///
    /// # Errors
    /// [`Error::OutOfDeviceMemory`].
    pub(crate) fn exchange(&mut self) -> Result<wgpu::Buffer> {
        self.has_exchanged = true;
        if let Some(exchange) = &self.exchange {
            return Ok(exchange.clone());
        }
        let size = EXCHANGE_WORDS as u64 * 4;
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        let label = Some("exchange");
        let buffer =
            self.device.create_buffer(&wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: false });
        if pollster::block_on(scope.pop()).is_some() {
            return Err(Error::OutOfDeviceMemory {
                adapter: self.adapter.clone(),
                doing: "creating the buffer 'exchange'".to_owned(),
                bytes: size,
            });
        }
        Ok(self.exchange.insert(buffer).clone())
    }

    /// Whether the loops of an invocation may take so many rounds.
    ///
    /// # Errors
    /// [`Error::Limit`] if the driver would end them before.
    pub(crate) fn check_rounds(&self, what: &str, rounds: usize) -> Result<()> {
        if rounds < self.loop_rounds {
            return Ok(());
        }
        Err(Error::Limit {
            what: what.to_owned(),
            need: format!("loops of {rounds} rounds"),
            limit: format!("{} in which {} ends them", self.loop_rounds, self.adapter),
            hint: "use the CPU".to_owned(),
        })
    }

    /// The same buffer as runs before left it, if one used it; this one has not yet.
    pub(crate) fn exchange_before(&mut self) -> Option<wgpu::Buffer> {
        self.has_exchanged = false;
        self.exchange.clone()
    }

    /// The same buffer, if this run used it. Its first word says whether anyone gave up.
    pub(crate) fn exchanged(&mut self) -> Option<wgpu::Buffer> {
        if std::mem::take(&mut self.has_exchanged) { self.exchange.clone() } else { None }
    }

    /// Number of pipelines compiled so far.
    #[cfg(test)]
    pub(crate) fn compiled(&self) -> usize {
        self.pipelines.len()
    }

    /// Forgets the bind groups, which keep their buffers alive. For when buffers are replaced.
    pub(crate) fn forget_buffers(&mut self) {
        self.groups.clear();
    }

    /// The pipeline of `key`.
    ///
    /// # Errors
    /// [`Error::Limit`] if a workgroup needs more than the device granted; [`Error::Gpu`] if the
    /// device rejects the shader.
    pub(crate) fn get(&mut self, key: &PipelineKey) -> Result<Arc<Pipeline>> {
        if let Some(pipeline) = self.pipelines.get(key) {
            return Ok(Arc::clone(pipeline));
        }
        let kernel = key.kernel;
        self.check_limits(key)?;
        let source = kernel.compose(key.variant)?;
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let layout = self.layout(kernel).1.clone();
        let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(kernel.name),
            source: wgpu::ShaderSource::Wgsl(source.into()),
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(kernel.name),
            layout: Some(&layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &key.constants(),
                // Every kernel writes its workgroup memory before it reads it.
                zero_initialize_workgroup_memory: false,
            },
            cache: self.cache.as_ref(),
        });
        if let Some(error) = pollster::block_on(scope.pop()) {
            return Err(Error::Gpu {
                adapter: self.adapter.clone(),
                doing: format!("kernel {}", kernel.name),
                detail: error.to_string(),
            });
        }
        let pipeline = Arc::new(Pipeline { kernel, pipeline });
        self.pipelines.insert(key.clone(), Arc::clone(&pipeline));
        Ok(pipeline)
    }

    /// wgpu 30 does not check the workgroup's memory, and a driver may then do anything.
    fn check_limits(&self, key: &PipelineKey) -> Result<()> {
        let kernel = key.kernel;
        let granted = [
            (
                "max_compute_workgroup_storage_size",
                kernel.workgroup_bytes,
                self.limits.max_compute_workgroup_storage_size,
            ),
            (
                "max_compute_invocations_per_workgroup",
                key.invocations,
                self.limits.max_compute_invocations_per_workgroup,
            ),
            ("max_compute_workgroup_size_x", key.invocations, self.limits.max_compute_workgroup_size_x),
            (
                "max_storage_buffers_per_shader_stage",
                u32::try_from(kernel.bindings.len()).unwrap_or(u32::MAX),
                self.limits.max_storage_buffers_per_shader_stage,
            ),
        ];
        for (name, need, limit) in granted {
            if need > limit {
                return Err(Error::Limit {
                    what: format!("kernel {}", kernel.name),
                    need: need.to_string(),
                    limit: format!("{limit} ({name} of {})", self.adapter),
                    hint: "use another device".to_owned(),
                });
            }
        }
        Ok(())
    }

    fn layout(&mut self, kernel: &'static Kernel) -> &(wgpu::BindGroupLayout, wgpu::PipelineLayout) {
        let device = &self.device;
        self.layouts.entry(kernel.name).or_insert_with(|| {
            let entry = |binding, ty, has_dynamic_offset| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: None },
                count: None,
            };
            let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform, true)];
            for (binding, b) in (1..).zip(kernel.bindings) {
                let read_only = b.access == Access::Read;
                entries.push(entry(binding, wgpu::BufferBindingType::Storage { read_only }, false));
            }
            let label = Some(kernel.name);
            let group = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries });
            let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label,
                bind_group_layouts: &[Some(&group)],
                immediate_size: 0,
            });
            (group, layout)
        })
    }

    /// The pipeline of `key` with `views` as its bindings, in the table's order; `None` where the
    /// kernel will not look.
    ///
    /// # Errors
    /// As [`Self::get`]; [`Error::Limit`] if a view is larger than a binding may be.
    pub(crate) fn bind(&mut self, key: &PipelineKey, views: &[Option<View<'_>>]) -> Result<Bound> {
        let pipeline = self.get(key)?;
        let kernel = key.kernel;
        if views.len() != kernel.bindings.len() {
            return Err(Error::internal(format!("kernel {} bound to {} buffers", kernel.name, views.len())));
        }
        let mut buffers = Vec::with_capacity(views.len());
        for (view, binding) in views.iter().zip(kernel.bindings) {
            let Some(view) = view.filter(|view| view.len > 0) else {
                let unused = if binding.access == Access::Read { &self.empty } else { &self.unwritten };
                buffers.push((unused.clone(), 0, 256));
                continue;
            };
            buffers.push(self.checked(kernel, binding.name, view)?);
        }
        for (i, binding) in kernel.bindings.iter().enumerate().filter(|(_, b)| b.access == Access::ReadWrite) {
            if buffers.iter().enumerate().any(|(j, other)| i != j && other.0 == buffers[i].0) {
                return Err(Error::internal(format!("'{}' of kernel {} is bound twice", binding.name, kernel.name)));
            }
        }
        let group_key = (kernel.name, buffers);
        if let Some(group) = self.groups.get(&group_key) {
            return Ok(Bound { pipeline, group: group.clone() });
        }
        let layout = self.layout(kernel).0.clone();
        let slot = wgpu::BufferBinding { buffer: &self.params, offset: 0, size: wgpu::BufferSize::new(SLOT_BYTES) };
        let mut entries = vec![wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(slot) }];
        for (binding, (buffer, offset, size)) in (1..).zip(&group_key.1) {
            let resource = wgpu::BufferBinding { buffer, offset: *offset, size: wgpu::BufferSize::new(*size) };
            entries.push(wgpu::BindGroupEntry { binding, resource: wgpu::BindingResource::Buffer(resource) });
        }
        let descriptor = wgpu::BindGroupDescriptor { label: Some(kernel.name), layout: &layout, entries: &entries };
        let group = self.device.create_bind_group(&descriptor);
        drop(entries);
        self.groups.insert(group_key, group.clone());
        Ok(Bound { pipeline, group })
    }

    fn checked(&self, kernel: &Kernel, name: &str, view: View<'_>) -> Result<(wgpu::Buffer, u64, u64)> {
        let (start, size) = (view.start as u64 * 4, view.len as u64 * 4);
        let limit = self.limits.max_storage_buffer_binding_size.min(u64::from(u32::MAX));
        if size > limit {
            return Err(Error::Limit {
                what: format!("'{name}' of kernel {}", kernel.name),
                need: error::bytes(size),
                limit: format!("{} (max_storage_buffer_binding_size of {})", error::bytes(limit), self.adapter),
                hint: "use a smaller batch or shorter sequences".to_owned(),
            });
        }
        let alignment = u64::from(self.limits.min_storage_buffer_offset_alignment.max(4));
        // A binding of vec4 is read in whole elements.
        let padded = size.next_multiple_of(16);
        let room = view.buffer.size().saturating_sub(start);
        if start % alignment != 0 || size > room {
            return Err(Error::internal(format!(
                "'{name}' of kernel {} at byte {start}, {size} bytes of a buffer of {}",
                kernel.name,
                view.buffer.size()
            )));
        }
        Ok((view.buffer.clone(), start, padded.min(room)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        activation::Activation,
        error::ErrorKind,
        gpu::{
            kernels::{elementwise::encode_map, linear::LINEAR},
            testing::gpu,
        },
    };

    #[test]
    fn what_a_device_would_do_wrong_is_refused() {
        let mut gpu = gpu();
        let granted = gpu.pipelines.limits.clone();
        let (a, b) = (gpu.upload(&[1.0; 128]), gpu.empty(128));
        let map = |gpu: &mut crate::gpu::testing::Gpu, input, output| {
            let mut result = Ok(());
            gpu.run(|recorder| {
                result = encode_map(recorder, input, Activation::Linear, output);
                Ok(())
            });
            result.map_err(|error: Error| error.kind())
        };
        assert_eq!(map(&mut gpu, a.view(), b.view()), Ok(()));
        assert_eq!(map(&mut gpu, a.view(), a.view()), Err(ErrorKind::Internal));
        assert_eq!(map(&mut gpu, View { start: 1, len: 4, ..a.view() }, b.view()), Err(ErrorKind::Internal));
        assert_eq!(map(&mut gpu, View { len: 4096, ..a.view() }, b.view()), Err(ErrorKind::Internal));
        gpu.pipelines.limits.max_storage_buffer_binding_size = 256;
        assert_eq!(map(&mut gpu, a.view(), b.view()), Err(ErrorKind::Limit));
        gpu.pipelines.limits = granted.clone();
        // Workgroup memory, which wgpu itself does not check; a fresh device has no pipeline yet.
        let (device, queue) = (gpu.pipelines.device.clone(), gpu.pipelines.queue.clone());
        let mut small = Pipelines::new(&device, &queue);
        small.limits.max_compute_workgroup_storage_size = 4096;
        assert_eq!(small.get(&PipelineKey::new(&LINEAR)).unwrap_err().kind(), ErrorKind::Limit);
        small.limits = granted;
        assert!(small.get(&PipelineKey::new(&LINEAR)).is_ok());
        assert!(matches!(small.get(&PipelineKey::new(&LINEAR).constant("unknown", 1u32)), Err(Error::Gpu { .. })));
    }
}
