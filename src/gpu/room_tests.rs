//! Tests of the room alone: no program, no kernel of ours.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use super::{Fault, FaultPoint, Gpu, GpuOptions, owner::Owner};
use crate::{
    Result,
    error::{Error, ErrorKind},
};

fn open() -> Option<Gpu> {
    match pollster::block_on(Gpu::open(GpuOptions::default())) {
        Ok(gpu) => Some(gpu),
        Err(error) if std::env::var_os("WGPU_RNN_SKIP_GPU").is_some() => {
            eprintln!("SKIPPED: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// The device that tests share unless they break it.
fn shared() -> Option<Gpu> {
    static GPU: OnceLock<Option<Gpu>> = OnceLock::new();
    GPU.get_or_init(|| open().inspect(|gpu| eprintln!("running on {}", gpu.info()))).clone()
}

/// Sends `values` through a buffer of the device and back.
fn echo(owner: &mut Owner, values: &[f32]) -> Result<Vec<f32>> {
    use wgpu::BufferUsages as Usage;
    let bytes = 4 * values.len() as u64;
    let source = owner.create_buffer("source", bytes, Usage::COPY_SRC | Usage::COPY_DST)?;
    let staging = owner.create_buffer("staging", bytes, Usage::MAP_READ | Usage::COPY_DST)?;
    owner.upload("values", &source, 0, bytemuck::cast_slice(values))?;
    let commands = owner.scoped("copying", 0, |device, _| {
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(&source, 0, &staging, 0, bytes);
        encoder.finish()
    })?;
    let submission = owner.submit(commands)?;
    let mapping = owner.map(&staging, values.len())?;
    owner.wait(submission, "the results", owner.options.deadline)?;
    owner.read(&mapping)
}

fn run_echo(gpu: &Gpu, values: Vec<f32>) -> Result<Vec<f32>> {
    pollster::block_on(gpu.call(move |owner| echo(owner, &values)))
}

/// Submits a kernel that keeps the device busy for some hundred milliseconds, without waiting for it.
fn keep_busy(owner: &mut Owner) -> Result<wgpu::SubmissionIndex> {
    const WGSL: &str = "
        @group(0) @binding(0) var<storage, read_write> data: array<f32>;
        @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
            var x = data[id.x];
            for (var i = 0u; i < 4000000u; i++) { x = x * 0.999 + 0.1; }
            data[id.x] = x;
        }";
    let buffer = owner.create_buffer("data", 1 << 14, wgpu::BufferUsages::STORAGE)?;
    let commands = owner.scoped("a busy kernel", 0, |device, _| {
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(WGSL.into()),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: None,
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: buffer.as_entire_binding() }],
        });
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(64, 1, 1);
        drop(pass);
        encoder.finish()
    })?;
    owner.submit(commands)
}

#[test]
fn many_threads_share_a_device() {
    let Some(gpu) = shared() else { return };
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let gpu = gpu.clone();
            scope.spawn(move || {
                for call in 0..50 {
                    let values = vec![thread as f32, call as f32];
                    assert_eq!(run_echo(&gpu, values.clone()).expect("echo"), values);
                }
            });
        }
    });
}

#[test]
fn every_fault_is_an_error_and_a_new_device_works() {
    let Some(mut gpu) = open() else { return };
    type Case = (FaultPoint, Fault, fn(&Error) -> bool);
    let cases: [Case; 8] = [
        (FaultPoint::CreateBuffer, Fault::OutOfMemory, |e| matches!(e, Error::OutOfDeviceMemory { bytes: 16, .. })),
        (FaultPoint::CreateBuffer, Fault::Panic, |e| matches!(e, Error::DeviceLost { .. })),
        (FaultPoint::Submit, Fault::Lost, |e| matches!(e, Error::DeviceLost { .. })),
        (FaultPoint::Submit, Fault::Panic, |e| matches!(e, Error::DeviceLost { .. })),
        (FaultPoint::Wait, Fault::Lost, |e| matches!(e, Error::DeviceLost { .. })),
        (FaultPoint::Wait, Fault::Timeout, |e| matches!(e, Error::Timeout { .. })),
        (
            FaultPoint::Wait,
            Fault::Panic,
            |e| matches!(e, Error::DeviceLost { reason, .. } if reason == "planted panic"),
        ),
        (FaultPoint::Readback, Fault::Lost, |e| matches!(e, Error::DeviceLost { .. })),
    ];
    for (point, fault, expected) in cases {
        gpu.plant_fault(point, 1, fault);
        let error = run_echo(&gpu, vec![1.0, 2.0]).expect_err("a planted fault");
        assert!(expected(&error), "{point:?} {fault:?}: {error}");
        assert_eq!(error.kind(), ErrorKind::Device);
        assert!(error.is_retryable());
        if fault == Fault::OutOfMemory {
            assert_eq!(gpu.lost_reason(), None);
        } else {
            let again = run_echo(&gpu, vec![1.0]).expect_err("the device is lost");
            assert!(matches!(again, Error::DeviceLost { .. }), "{again}");
            gpu = pollster::block_on(gpu.reopen()).expect("the adapter is still there");
        }
        assert_eq!(run_echo(&gpu, vec![3.0, 4.0]).expect("works"), [3.0, 4.0]);
    }
    gpu.plant_fault(FaultPoint::Readback, 1, Fault::WrongBit);
    assert_eq!(run_echo(&gpu, vec![1.0]).expect("wrong, but a result"), [1.5]);
}

#[test]
fn a_panic_in_work_or_a_destroyed_device_is_a_loss() {
    let Some(gpu) = open() else { return };
    let work = |_: &mut Owner| -> Result<()> { std::panic::resume_unwind(Box::new("boom".to_owned())) };
    let error = pollster::block_on(gpu.call(work)).expect_err("a panic");
    assert!(matches!(&error, Error::DeviceLost { reason, .. } if reason == "boom"), "{error}");
    let gpu = pollster::block_on(gpu.reopen()).expect("reopens");
    let destroy = gpu.call(|owner| {
        owner.device().destroy();
        Ok(())
    });
    assert!(pollster::block_on(destroy).is_ok());
    let error = run_echo(&gpu, vec![1.0]).expect_err("destroyed");
    assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
}

#[test]
fn a_rejected_call_is_an_error_and_harms_nothing() {
    let Some(gpu) = shared() else { return };
    let too_large =
        gpu.call(|owner| owner.create_buffer("huge", u64::MAX / 8, wgpu::BufferUsages::STORAGE).map(|_| ()));
    let error = pollster::block_on(too_large).expect_err("over the limit");
    assert!(matches!(&error, Error::Gpu { doing, .. } if doing == "creating huge"), "{error}");
    // Outside any scope it is found afterwards.
    let stray = gpu.call(|owner| {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::STORAGE;
        let descriptor = wgpu::BufferDescriptor { label: None, size: 4, usage, mapped_at_creation: false };
        drop(owner.device().create_buffer(&descriptor));
        Ok(())
    });
    assert!(matches!(pollster::block_on(stray), Err(Error::Gpu { .. })));
    assert_eq!(run_echo(&gpu, vec![5.0]).expect("works"), [5.0]);
}

#[test]
fn a_hung_device_is_a_timeout() {
    let Some(gpu) = open() else { return };
    let wait = gpu.call(|owner| {
        let last = keep_busy(owner)?;
        owner.wait(last, "busy work", Duration::from_millis(1))
    });
    let error = pollster::block_on(wait).expect_err("too slow");
    assert!(matches!(&error, Error::Timeout { doing, .. } if doing == "busy work"), "{error}");
    assert!(matches!(run_echo(&gpu, vec![1.0]), Err(Error::DeviceLost { .. })));
}

#[test]
fn dropping_a_busy_device_returns_at_once_and_shutdown_waits() {
    let Some(gpu) = open() else { return };
    pollster::block_on(gpu.call(|owner| keep_busy(owner).map(|_| ()))).expect("submitted");
    let before = Instant::now();
    drop(gpu);
    assert!(before.elapsed() < Duration::from_millis(10), "{:?}", before.elapsed());

    let Some(gpu) = open() else { return };
    pollster::block_on(gpu.call(|owner| keep_busy(owner).map(|_| ()))).expect("submitted");
    assert!(matches!(gpu.shutdown(Duration::from_millis(1)), Err(Error::Timeout { .. })));
    gpu.shutdown(Duration::from_secs(60)).expect("closes");
    gpu.shutdown(Duration::ZERO).expect("closed already");
    assert!(matches!(run_echo(&gpu, vec![1.0]), Err(Error::DeviceLost { .. })));
}

#[test]
fn a_dropped_future_takes_its_work_back() {
    let Some(gpu) = shared() else { return };
    let (ran, runs) = std::sync::mpsc::channel();
    let block = gpu.call(|_| {
        std::thread::sleep(Duration::from_millis(50));
        Ok(())
    });
    let unwanted = ran.clone();
    drop(gpu.call(move |_| {
        let _ = unwanted.send("unwanted");
        Ok(())
    }));
    pollster::block_on(block).expect("sleeps");
    pollster::block_on(gpu.call(move |_| {
        let _ = ran.send("wanted");
        Ok(())
    }))
    .expect("runs");
    assert_eq!(runs.iter().collect::<Vec<_>>(), ["wanted"]);
}

#[test]
fn kept_objects_live_as_long_as_their_handle() {
    let Some(gpu) = shared() else { return };
    let kept = pollster::block_on(gpu.keep(|_| Ok(vec![1, 2, 3]))).expect("kept");
    let sum = kept.call(|_, object| {
        object.push(4);
        Ok(object.iter().sum::<i32>())
    });
    assert_eq!(pollster::block_on(sum).expect("sum"), 10);
    let counted =
        || pollster::block_on(gpu.call(|owner| Ok(owner.objects.values().filter(|o| o.is::<Vec<i32>>()).count())));
    assert_eq!(counted().expect("count"), 1);
    drop(kept);
    assert_eq!(counted().expect("count"), 0);
}

#[test]
fn default_limits_are_granted_exactly() {
    if shared().is_none() {
        return;
    }
    let options = GpuOptions { limits: super::DeviceLimits::Default, ..GpuOptions::default() };
    let gpu = pollster::block_on(Gpu::open(options)).expect("opens");
    let (granted, default) = (gpu.limits(), wgpu::Limits::default());
    assert_eq!(granted.max_storage_buffer_binding_size, default.max_storage_buffer_binding_size);
    assert_eq!(granted.max_compute_workgroup_storage_size, default.max_compute_workgroup_storage_size);
    assert_eq!(granted.max_compute_invocations_per_workgroup, default.max_compute_invocations_per_workgroup);
    assert_eq!(granted.max_storage_buffers_per_shader_stage, default.max_storage_buffers_per_shader_stage);
    assert_eq!(run_echo(&gpu, vec![6.0]).expect("works"), [6.0]);
}
