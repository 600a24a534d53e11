//! The table of kernels: per kernel its source, bindings, parameters and what a workgroup needs.
//! `tests/shaders.rs` compares every entry with what naga reads in the WGSL.

use std::hash::{Hash, Hasher};

use super::kernels::{
    self,
    held::{COOPERATIVE_HELD, all_products, handed_linear, held_products},
    tile::{TILE_GROUPS, linear_tile, recurrent_tile},
};
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
#[derive(Clone, Copy, Debug)]
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
    /// How many rows a value has; comes first.
    Rows,
    Common,
    Activation,
    ActivationOne,
    ActivationCell,
    /// The loader of the precision asked for.
    Weights,
    Product,
    /// Rows of the buffers of products, four at a time.
    LinearRows,
    /// Weights of a product that invocations hold.
    HandedLinear,
    /// Sums of a product that invocations hold.
    LinearTile,
    /// Products of a unit that several invocations share.
    Slices,
    /// The recurrent products, of weights that are streamed or held.
    RecurrentProducts,
    /// The stages of a single timestep.
    Stages,
    /// Sums of recurrent products that invocations hold.
    RecurrentTile,
    Linear,
    Line,
    /// The text of the cell asked for.
    Cell,
    /// The recurrence's buffers, by rows of a value.
    RecurrenceRows,
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

    /// Whether a variant needs the f16 extension.
    fn is_half(&self, variant: Variant) -> bool {
        variant.half && self.has(Part::Product)
    }

    /// Where its recurrent products may come from.
    fn all_products(&self) -> Vec<Products> {
        match self.parts {
            parts if parts.contains(&Part::RecurrentTile) => TILE_GROUPS.map(Products::Tiled).into(),
            parts if !parts.contains(&Part::RecurrentProducts) => vec![Products::Streamed],
            _ if *self == kernels::recurrence::COOPERATIVE => COOPERATIVE_HELD.map(Products::Held).into(),
            _ => all_products().collect(),
        }
    }

    /// How many rows its values may have.
    fn widths(&self) -> &'static [RowWidth] {
        if *self == kernels::recurrence::COOPERATIVE || self.has(Part::HandedLinear) {
            &[RowWidth::One]
        } else if self.has(Part::Slices) {
            &RowWidth::ALL
        } else {
            &[RowWidth::Four]
        }
    }

    /// The WGSL of a variant; kernels without a part ignore what it would depend on.
    pub(crate) fn compose(&self, variant: Variant) -> Result<String> {
        let cell = || {
            variant.cell.ok_or_else(|| Error::internal(format!("kernel {} without a cell", self.name))).map(Cell::spec)
        };
        let mut text = if self.is_half(variant) { "enable f16;\n\n".to_owned() } else { String::new() };
        for part in self.parts {
            let written;
            text.push_str(match part {
                Part::Rows => match variant.rows {
                    RowWidth::One => include_str!("../../shaders/shared/rows_one.wgsl"),
                    RowWidth::Four => include_str!("../../shaders/shared/rows_four.wgsl"),
                },
                Part::Common => include_str!("../../shaders/shared/common.wgsl"),
                Part::Activation => include_str!("../../shaders/shared/activation.wgsl"),
                Part::ActivationOne => include_str!("../../shaders/shared/activation_one.wgsl"),
                Part::ActivationCell => include_str!("../../shaders/shared/activation_cell.wgsl"),
                Part::Weights => match variant.precision {
                    Precision::F32 => concat!(
                        include_str!("../../shaders/shared/weights_f32.wgsl"),
                        include_str!("../../shaders/shared/weights_unscaled.wgsl")
                    ),
                    Precision::F16 => concat!(
                        include_str!("../../shaders/shared/weights_f16.wgsl"),
                        include_str!("../../shaders/shared/weights_unscaled.wgsl")
                    ),
                    Precision::Bf16 => concat!(
                        include_str!("../../shaders/shared/weights_bf16.wgsl"),
                        include_str!("../../shaders/shared/weights_unscaled.wgsl")
                    ),
                    Precision::I8 => include_str!("../../shaders/shared/weights_i8.wgsl"),
                },
                Part::Product if variant.half => {
                    let rows = if variant.rows == RowWidth::One { "f16" } else { "vec4<f16>" };
                    let product = include_str!("../../shaders/shared/product_half.wgsl");
                    written = format!("alias HalfRows = {rows};\n\n{product}");
                    &written
                }
                Part::Product => include_str!("../../shaders/shared/product.wgsl"),
                Part::Linear => include_str!("../../shaders/shared/linear.wgsl"),
                Part::LinearRows => include_str!("../../shaders/shared/linear_rows.wgsl"),
                Part::HandedLinear => {
                    written = handed_linear();
                    &written
                }
                Part::LinearTile => {
                    written = linear_tile();
                    &written
                }
                Part::Slices => include_str!("../../shaders/shared/slices.wgsl"),
                Part::Stages => include_str!("../../shaders/shared/stages.wgsl"),
                Part::RecurrentTile => {
                    written = recurrent_tile(cell()?.gates.len(), variant.products.row_groups());
                    &written
                }
                Part::Line => include_str!("../../shaders/shared/line.wgsl"),
                Part::Cell => cell()?.wgsl,
                Part::RecurrenceRows => match variant.rows {
                    RowWidth::One => include_str!("../../shaders/shared/recurrence_rows_one.wgsl"),
                    RowWidth::Four => include_str!("../../shaders/shared/recurrence_rows_four.wgsl"),
                },
                Part::Recurrence => include_str!("../../shaders/shared/recurrence.wgsl"),
                Part::RecurrentProducts => match variant.products {
                    Products::Streamed | Products::Tiled(_) => {
                        include_str!("../../shaders/shared/products_streamed.wgsl")
                    }
                    Products::Held(groups) => {
                        written = held_products(cell()?.gates.len(), groups, false);
                        &written
                    }
                    Products::Handed(groups) => {
                        written = held_products(cell()?.gates.len(), groups, true);
                        &written
                    }
                },
            });
            text.push('\n');
        }
        text.push_str(self.source);
        Ok(text)
    }
}

/// What a kernel's text depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Variant {
    pub(crate) cell: Option<Cell>,
    pub(crate) precision: Precision,
    pub(crate) products: Products,
    pub(crate) rows: RowWidth,
    /// Whether products are made in f16, four at a time.
    pub(crate) half: bool,
}

/// Where the weights of recurrent products come from, and how the hidden state comes to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Products {
    /// Read from memory at every timestep.
    Streamed,
    /// Held, so many groups of four hidden units; the hidden state is read from workgroup memory.
    Held(usize),
    /// Read at every timestep, by workgroups that have many rows: so many groups of four rows to an invocation.
    Tiled(usize),
    /// Held; of the hidden state eight lanes of a subgroup read eight units and hand them to the others. For drivers
    /// that compute on the CPU, where a read costs more than anything else.
    Handed(usize),
}

impl Products {
    /// Whether invocations hold their weights from timestep to timestep.
    pub(crate) fn holds(self) -> bool {
        matches!(self, Self::Held(_) | Self::Handed(_))
    }

    /// Groups of four rows of an invocation.
    pub(crate) fn row_groups(self) -> usize {
        if let Self::Tiled(groups) = self { groups } else { 1 }
    }
}

impl Default for Variant {
    fn default() -> Self {
        Self { cell: None, precision: Precision::F32, products: Products::Streamed, rows: RowWidth::Four, half: false }
    }
}

/// Rows of a value in a kernel: one, or the four components of a vector. The sums have the same order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RowWidth {
    One,
    Four,
}

impl RowWidth {
    pub(crate) const ALL: [Self; 2] = [Self::One, Self::Four];

    pub(crate) fn rows(self) -> usize {
        match self {
            Self::One => 1,
            Self::Four => 4,
        }
    }

    /// Values that the slices of a workgroup have room for to share: `ROOM` of recurrence_rows_one.wgsl and
    /// recurrence_rows_four.wgsl.
    pub(crate) fn room(self) -> usize {
        2048 / self.rows()
    }
}

/// Every kernel.
pub(crate) static KERNELS: &[&Kernel] = &[
    &kernels::linear::LINEAR,
    &kernels::linear::LINEAR_FEW_ROWS,
    &kernels::linear::LINEAR_HANDED,
    &kernels::recurrence::STEP,
    &kernels::recurrence::TILED,
    &kernels::recurrence::PERSISTENT,
    &kernels::recurrence::COOPERATIVE,
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
    pub(crate) variant: Variant,
    /// Names and bits of the override constants.
    constants: Vec<(&'static str, u64)>,
    /// Invocations of a workgroup.
    pub(crate) invocations: u32,
}

impl PipelineKey {
    pub(crate) fn new(kernel: &'static Kernel) -> Self {
        Self { kernel, variant: Variant::default(), constants: Vec::new(), invocations: kernel.invocations }
    }

    pub(crate) fn variant(mut self, variant: Variant) -> Self {
        self.variant = variant;
        self
    }

    pub(crate) fn precision(mut self, precision: Precision) -> Self {
        self.variant.precision = precision;
        self
    }

    /// For a kernel whose constants say how many invocations a workgroup has.
    pub(crate) fn invocations(mut self, invocations: u32) -> Self {
        self.invocations = invocations;
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
    /// Cell, precision, where weights come from, rows of a value.
    pub variant: String,
    /// The composed WGSL.
    pub source: String,
    /// Whether it needs subgroups.
    pub subgroups: bool,
    /// Whether it needs the f16 extension.
    pub half: bool,
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

/// Every kernel in every variant that it has.
///
/// # Errors
/// None; the sources are fixed.
#[doc(hidden)]
pub fn kernel_sources() -> Result<Vec<KernelSource>> {
    let mut all = Vec::new();
    for kernel in KERNELS {
        let cells: Vec<Option<Cell>> =
            if kernel.has(Part::Cell) { Cell::ALL.into_iter().map(Some).collect() } else { vec![None] };
        let precisions: &[Precision] = if kernel.has(Part::Weights) { &Precision::ALL } else { &[Precision::F32] };
        let products = kernel.all_products();
        let widths = kernel.widths();
        for &cell in &cells {
            for (precision, half) in arithmetics(kernel, precisions) {
                for (&products, &rows) in products.iter().flat_map(|p| widths.iter().map(move |rows| (p, rows))) {
                    let name = cell.map_or("", |cell| cell.spec().name);
                    let arithmetic = if half { " in f16" } else { "" };
                    all.push(KernelSource {
                        name: kernel.name,
                        variant: format!("{name} {precision:?}{arithmetic}, {products:?}, {} rows", rows.rows()),
                        source: kernel.compose(Variant { cell, precision, products, rows, half })?,
                        subgroups: matches!(products, Products::Handed(_)) || kernel.has(Part::HandedLinear),
                        half,
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
    }
    Ok(all)
}

/// Each precision, and whether products are made in f16: of weights that are stored so, either.
fn arithmetics<'p>(kernel: &Kernel, precisions: &'p [Precision]) -> impl Iterator<Item = (Precision, bool)> + use<'p> {
    let has_products = kernel.has(Part::Product);
    precisions.iter().flat_map(move |&precision| {
        let half = (has_products && precision == Precision::F16).then_some((precision, true));
        [(precision, false)].into_iter().chain(half)
    })
}
