//! The table of kernels: per kernel its source, bindings, parameters and what a workgroup needs.
//! `tests/shaders.rs` compares every entry with what naga reads in the WGSL.

use std::hash::{Hash, Hasher};

use super::kernels;
use crate::{
    cell::Cell,
    error::{Error, Result},
    plan::Precision,
};

/// How a kernel uses a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    ReadWrite,
}

/// A storage binding; the first of a kernel is `@binding(1)`, the parameters are `@binding(0)`.
#[derive(Debug)]
pub(crate) struct Binding {
    pub(crate) name: &'static str,
    pub(crate) access: Access,
    /// For readers; the WGSL ends with the same text.
    pub(crate) shape: &'static str,
}

impl Binding {
    pub(crate) const fn read(name: &'static str, shape: &'static str) -> Self {
        Self { name, access: Access::Read, shape }
    }

    pub(crate) const fn read_write(name: &'static str, shape: &'static str) -> Self {
        Self { name, access: Access::ReadWrite, shape }
    }
}

/// A text that kernels share. Sources are the parts, in order, then the kernel's own text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Common,
    Activation,
    ActivationOne,
    ActivationCell,
    /// The loader of the precision asked for.
    Weights,
    Product,
    /// How many groups of recurrent weights an invocation holds, if it does.
    HeldGroups,
    /// The recurrent products, of weights that are streamed or held.
    RecurrentProducts,
    Linear,
    Line,
    /// The text of the cell asked for.
    Cell,
    Recurrence,
}

/// A compute kernel: one file, whose name is the name and the label.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) name: &'static str,
    pub(crate) parts: &'static [Part],
    pub(crate) source: &'static str,
    pub(crate) bindings: &'static [Binding],
    /// Size of the parameters in 32-bit words.
    pub(crate) params_words: usize,
    /// Workgroup memory, in bytes.
    pub(crate) workgroup_bytes: u32,
    /// Invocations of a workgroup.
    pub(crate) invocations: u32,
}

impl PartialEq for Kernel {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Kernel {}

impl Hash for Kernel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Kernel {
    fn has(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }

    /// The WGSL for one cell and precision; kernels without the part ignore them.
    pub(crate) fn compose(&self, cell: Option<Cell>, precision: Precision, held: Option<usize>) -> Result<String> {
        let mut text = String::new();
        for part in self.parts {
            text.push_str(match part {
                Part::HeldGroups => match held {
                    None => "",
                    Some(groups) => HELD
                        .iter()
                        .find_map(|(known, text)| (*known == groups).then_some(*text))
                        .ok_or_else(|| Error::internal(format!("{groups} held groups")))?,
                },
                Part::RecurrentProducts => match held {
                    None => include_str!("../../shaders/shared/products_streamed.wgsl"),
                    Some(_) => include_str!("../../shaders/shared/products_held.wgsl"),
                },
                Part::Common => include_str!("../../shaders/shared/common.wgsl"),
                Part::Activation => include_str!("../../shaders/shared/activation.wgsl"),
                Part::ActivationOne => include_str!("../../shaders/shared/activation_one.wgsl"),
                Part::ActivationCell => include_str!("../../shaders/shared/activation_cell.wgsl"),
                Part::Weights => match precision {
                    Precision::F32 => include_str!("../../shaders/shared/weights_f32.wgsl"),
                    Precision::F16 => include_str!("../../shaders/shared/weights_f16.wgsl"),
                },
                Part::Product => include_str!("../../shaders/shared/product.wgsl"),
                Part::Linear => include_str!("../../shaders/shared/linear.wgsl"),
                Part::Line => include_str!("../../shaders/shared/line.wgsl"),
                Part::Cell => {
                    cell.ok_or_else(|| Error::internal(format!("kernel {} without a cell", self.name)))?.spec().wgsl
                }
                Part::Recurrence => include_str!("../../shaders/shared/recurrence.wgsl"),
            });
            text.push('\n');
        }
        text.push_str(self.source);
        Ok(text)
    }
}

/// How many groups of weights an invocation may hold, and the text that says so. lavapipe's compiler takes time
/// in the square of the largest (1 s for 16, 5 s for 32, 14 s for 64).
pub(crate) const HELD: [(usize, &str); 4] = [
    (2, include_str!("../../shaders/held/2.wgsl")),
    (4, include_str!("../../shaders/held/4.wgsl")),
    (8, include_str!("../../shaders/held/8.wgsl")),
    (16, include_str!("../../shaders/held/16.wgsl")),
];

/// The most groups of weights that an invocation may hold.
pub(crate) const MAX_HELD: usize = HELD[HELD.len() - 1].0;

/// Every kernel.
pub(crate) static KERNELS: &[&Kernel] = &[
    &kernels::linear::LINEAR,
    &kernels::linear::LINEAR_FEW_ROWS,
    &kernels::recurrence::STEP,
    &kernels::recurrence::PERSISTENT,
    &kernels::gather::GATHER,
    &kernels::elementwise::ELEMENTWISE,
    &kernels::moves::RAMP,
    &kernels::moves::WINDOW,
    &kernels::moves::TAKE,
    &kernels::mat_mul::MAT_MUL,
    &kernels::reduce::REDUCE,
    &kernels::normalize::SOFTMAX,
    &kernels::normalize::LAYER_NORM,
    &kernels::normalize::BATCH_NORM,
    &kernels::not_equal::NOT_EQUAL,
    &kernels::calibrate::READ,
    &kernels::calibrate::MULTIPLY_ADD,
    &kernels::calibrate::RESIDENT,
];

/// What a pipeline is made of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PipelineKey {
    pub(crate) kernel: &'static Kernel,
    pub(crate) cell: Option<Cell>,
    pub(crate) precision: Precision,
    /// Groups of recurrent weights that an invocation holds.
    pub(crate) held: Option<usize>,
    /// Names and bits of the override constants.
    constants: Vec<(&'static str, u64)>,
}

impl PipelineKey {
    pub(crate) fn new(kernel: &'static Kernel) -> Self {
        Self { kernel, cell: None, precision: Precision::F32, held: None, constants: Vec::new() }
    }

    pub(crate) fn cell(mut self, cell: Cell) -> Self {
        self.cell = Some(cell);
        self
    }

    pub(crate) fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    pub(crate) fn held(mut self, groups: usize) -> Self {
        self.held = Some(groups);
        self
    }

    pub(crate) fn constant(mut self, name: &'static str, value: impl Into<f64>) -> Self {
        self.constants.push((name, value.into().to_bits()));
        self
    }

    pub(crate) fn constants(&self) -> Vec<(&'static str, f64)> {
        self.constants.iter().map(|&(name, bits)| (name, f64::from_bits(bits))).collect()
    }
}

/// One composed shader, for tests that need no device.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct KernelSource {
    /// The kernel's file name.
    pub name: &'static str,
    /// Cell and precision.
    pub variant: String,
    /// The composed WGSL.
    pub source: String,
    /// Whether it needs subgroups.
    pub subgroups: bool,
    /// Binding number, name and whether it is written.
    pub bindings: Vec<(u32, &'static str, bool)>,
    /// The bindings' shapes, in their order.
    pub shapes: Vec<&'static str>,
    /// Size of the parameters in bytes.
    pub params_bytes: u32,
    /// Workgroup memory, in bytes.
    pub workgroup_bytes: u32,
    /// Invocations of a workgroup.
    pub invocations: u32,
}

/// Every kernel with every cell and precision that it takes.
///
/// # Errors
/// None; the sources are fixed.
#[doc(hidden)]
pub fn kernel_sources() -> Result<Vec<KernelSource>> {
    let mut all = Vec::new();
    for kernel in KERNELS {
        let cells: Vec<Option<Cell>> =
            if kernel.has(Part::Cell) { Cell::ALL.into_iter().map(Some).collect() } else { vec![None] };
        let precisions: &[Precision] =
            if kernel.has(Part::Weights) { &[Precision::F32, Precision::F16] } else { &[Precision::F32] };
        for &cell in &cells {
            let products = if kernel.has(Part::RecurrentProducts) {
                std::iter::once(None).chain(HELD.iter().map(|(groups, _)| Some(*groups))).collect()
            } else {
                vec![None]
            };
            for (&precision, held) in
                precisions.iter().flat_map(|precision| products.iter().map(move |held| (precision, *held)))
            {
                all.push(KernelSource {
                    name: kernel.name,
                    variant: format!(
                        "{} {precision:?} {}",
                        cell.map_or("", |cell| cell.spec().name),
                        held.map_or(String::new(), |groups| format!("held {groups}"))
                    ),
                    source: kernel.compose(cell, precision, held)?,
                    subgroups: held.is_some(),
                    bindings: (1..)
                        .zip(kernel.bindings)
                        .map(|(i, b)| (i, b.name, b.access == Access::ReadWrite))
                        .collect(),
                    shapes: kernel.bindings.iter().map(|b| b.shape).collect(),
                    params_bytes: u32::try_from(kernel.params_words * 4).unwrap_or(u32::MAX),
                    workgroup_bytes: kernel.workgroup_bytes,
                    invocations: kernel.invocations,
                });
            }
        }
    }
    Ok(all)
}
