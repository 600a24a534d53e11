//! Every kernel with every cell and precision, without a GPU: parsed and validated by naga, compared
//! with the Rust table, held against wgpu's default limits, translated to SPIR-V, MSL and HLSL.
#![cfg(feature = "gpu")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{borrow::Cow, collections::BTreeSet, fs, path::Path};

use naga::{
    AddressSpace, Module, ShaderStage, StorageAccess,
    back::{hlsl, msl, pipeline_constants::process_overrides, spv},
    valid::{Capabilities, ModuleInfo, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator},
};
use wgpu_rnn::gpu::{KernelSource, kernel_sources};

/// wgpu's default limits.
const MAX_WORKGROUP_BYTES: u32 = 16_384;
const MAX_INVOCATIONS: u32 = 256;
const MAX_STORAGE_BUFFERS: usize = 8;
/// unpack2x16float, which needs no device feature (downlevel flags aside).
const CAPABILITIES: Capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
/// One slot of the recorder's parameters.
const MAX_PARAMS_BYTES: u32 = 256;

fn sources() -> Vec<KernelSource> {
    kernel_sources().unwrap()
}

/// Subgroups only where the table says that a kernel needs them.
fn parse(source: &str, subgroups: bool, half: bool) -> Result<(Module, ModuleInfo), String> {
    let module = naga::front::wgsl::parse_str(source).map_err(|e| e.emit_to_string(source))?;
    let mut capabilities = CAPABILITIES;
    capabilities.set(Capabilities::SUBGROUP, subgroups);
    capabilities.set(Capabilities::SHADER_FLOAT16, half);
    let mut validator = Validator::new(ValidationFlags::all(), capabilities);
    if subgroups {
        validator.subgroup_stages(ShaderStages::COMPUTE).subgroup_operations(SubgroupOperationSet::all());
    }
    let info = validator.validate(&module).map_err(|e| e.emit_to_string(source))?;
    Ok((module, info))
}

/// The first thing about `kernel` that its WGSL and the table do not agree on.
fn check(kernel: &KernelSource) -> Result<(), String> {
    let (module, info) = parse(&kernel.source, kernel.subgroups, kernel.half)?;
    let mut layouter = naga::proc::Layouter::default();
    layouter.update(module.to_ctx()).map_err(|e| e.to_string())?;

    let [entry] = module.entry_points.as_slice() else { return Err("not one entry point".to_owned()) };
    if entry.name != "main" || entry.stage != ShaderStage::Compute {
        return Err(format!("entry point {}", entry.name));
    }
    let invocations: u32 = resolved(&module, &info)?.0.entry_points.iter().flat_map(|e| e.workgroup_size).product();
    if invocations != kernel.invocations || invocations > MAX_INVOCATIONS {
        return Err(format!("{invocations} invocations, {} in the table", kernel.invocations));
    }
    if kernel.params_bytes > MAX_PARAMS_BYTES || kernel.bindings.len() > MAX_STORAGE_BUFFERS {
        return Err("parameters or bindings beyond the default limits".to_owned());
    }

    let mut workgroup_bytes = 0;
    let mut bindings = BTreeSet::new();
    for (_, variable) in module.global_variables.iter() {
        let name = variable.name.clone().unwrap_or_default();
        match variable.space {
            AddressSpace::WorkGroup => workgroup_bytes += layouter[variable.ty].size,
            AddressSpace::Uniform => {
                let binding = variable.binding.ok_or("unbound parameters")?;
                let size = layouter[variable.ty].size;
                if (binding.group, binding.binding) != (0, 0) || size != kernel.params_bytes {
                    return Err(format!("{size} bytes of parameters, {} in the table", kernel.params_bytes));
                }
            }
            AddressSpace::Storage { access } => {
                let binding = variable.binding.ok_or("unbound storage")?;
                if binding.group != 0 {
                    return Err(format!("{name} in group {}", binding.group));
                }
                bindings.insert((binding.binding, name, access.contains(StorageAccess::STORE)));
            }
            _ => {}
        }
    }
    if workgroup_bytes != kernel.workgroup_bytes || workgroup_bytes > MAX_WORKGROUP_BYTES {
        return Err(format!("{workgroup_bytes} bytes of workgroup memory, {} in the table", kernel.workgroup_bytes));
    }
    let table: BTreeSet<_> = kernel.bindings.iter().map(|&(i, name, written)| (i, name.to_owned(), written)).collect();
    if bindings != table {
        return Err(format!("bindings {bindings:?}, {table:?} in the table"));
    }

    translate(&module, &info)
}

/// With the override constants' default values.
fn resolved<'m>(module: &'m Module, info: &'m ModuleInfo) -> Result<(Cow<'m, Module>, Cow<'m, ModuleInfo>), String> {
    process_overrides(module, info, None, &Default::default()).map_err(|e| format!("overrides: {e}"))
}

fn translate(module: &Module, info: &ModuleInfo) -> Result<(), String> {
    let (module, info) = resolved(module, info)?;
    let text = |e: &dyn std::fmt::Display| e.to_string();
    let spirv = spv::write_vec(&module, &info, &spv::Options::default(), None).map_err(|e| text(&e))?;
    let (metal, _) = msl::write_string(&module, &info, &msl::Options::default(), &msl::PipelineOptions::default())
        .map_err(|e| text(&e))?;
    let mut direct3d = String::new();
    hlsl::Writer::new(&mut direct3d, &hlsl::Options::default(), &hlsl::PipelineOptions::default())
        .write(&module, &info, None)
        .map_err(|e| text(&e))?;
    if spirv.is_empty() || metal.is_empty() || direct3d.is_empty() {
        return Err("an empty translation".to_owned());
    }
    Ok(())
}

/// Comments gone, so that the gates look at code alone.
fn code(source: &str) -> String {
    source.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Builtins and tests that some driver gets wrong: `tanh` is NaN for large arguments, `sin` good to 2^-11.
fn forbidden(source: &str) -> Option<&'static str> {
    let code = code(source);
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    ["tanh", "sinh", "cosh", "atanh", "sin", "cos", "tan", "workgroupUniformLoad"].into_iter().find(|name| {
        code.match_indices(name).any(|(at, _)| {
            let (before, after) = (&code[..at], &code[at + name.len()..]);
            !before.ends_with(is_name) && after.trim_start().starts_with('(')
        })
    })
}

/// Bindings of `kernel` that no line of its source gives with the table's shape at its end.
fn without_shape(kernel: &KernelSource) -> Vec<&'static str> {
    let mut missing = Vec::new();
    for (&(i, name, _), shape) in kernel.bindings.iter().zip(&kernel.shapes) {
        let binding = format!("@binding({i})");
        let is_given = |line: &str| line.contains(&binding) && line.contains(name) && line.ends_with(shape);
        if !kernel.source.lines().any(is_given) {
            missing.push(name);
        }
    }
    missing
}

fn wgsl_files(folder: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders").join(folder);
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| name.strip_suffix(".wgsl").map(str::to_owned)).collect()
}

#[test]
fn every_kernel_agrees_with_the_table_and_translates() {
    let failures: Vec<String> = sources()
        .iter()
        .filter_map(|kernel| check(kernel).err().map(|why| format!("{} {}: {why}", kernel.name, kernel.variant)))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_file_is_in_the_table_and_every_entry_has_a_file() {
    let table: BTreeSet<String> = sources().iter().map(|kernel| kernel.name.to_owned()).collect();
    assert_eq!(table, wgsl_files(""));
}

#[test]
fn no_kernel_calls_what_drivers_get_wrong() {
    for kernel in sources() {
        assert_eq!(forbidden(&kernel.source), None, "{} {}", kernel.name, kernel.variant);
        assert_eq!(without_shape(&kernel), Vec::<&str>::new(), "{}", kernel.name);
    }
}

#[test]
fn the_gates_bite() {
    assert_eq!(forbidden("let y = tanh_stable(x); // not tanh(x)"), None);
    assert_eq!(forbidden("let y = tanh(x);"), Some("tanh"));
    assert_eq!(forbidden("let y = 1.0-tanh (x);"), Some("tanh"));
    assert_eq!(forbidden("let y = sin(x) + sine(x);"), Some("sin"));
    let good = sources().into_iter().find(|kernel| kernel.name == "reduce").unwrap();
    check(&good).unwrap();
    let stale =
        KernelSource { source: good.source.replace("[outer, len, inner]", "[outer, inner, len]"), ..good.clone() };
    assert_eq!(without_shape(&stale), ["input"]);
    let planted = |change: &dyn Fn(&mut KernelSource)| {
        let mut kernel = good.clone();
        change(&mut kernel);
        check(&kernel).unwrap_err()
    };
    planted(&|k| k.params_bytes += 4);
    planted(&|k| k.bindings[0].2 = true);
    planted(&|k| k.bindings[1].1 = "other");
    planted(&|k| k.bindings.truncate(2));
    planted(&|k| k.workgroup_bytes += 4);
    planted(&|k| k.invocations = 64);
    let mut held = sources().into_iter().find(|kernel| kernel.subgroups).unwrap();
    check(&held).unwrap();
    held.subgroups = false;
    check(&held).unwrap_err();
    planted(&|k| k.source = k.source.replace("fn main", "fn other"));
    planted(&|k| k.source.push_str("fn broken() -> f32 { return 1u; }"));
    planted(&|k| {
        k.source = k.source.replace("@compute", "var<workgroup> big: array<f32, 5000>; // [5000]\n@compute");
        k.workgroup_bytes = 20_000;
    });
}

/// Kernels that use what WebGPU does not have: no other compiler is asked about them. Workgroups that wait for each
/// other rest on more than WGSL promises, and where they stop waiting is, by its rules, no uniform control flow.
const NATIVE_ONLY: [&str; 1] = ["recurrence_cooperative"];

/// A value for every override constant of `source`, as the program gives it: together, those of one pipeline.
fn constants(source: &str) -> serde_json::Value {
    let module = naga::front::wgsl::parse_str(source).unwrap();
    let names = module.overrides.iter().map(|(_, constant)| constant.name.clone().unwrap());
    let value = |name: &str| match name.rsplit_once('_').map_or(name, |(_, last)| last) {
        "UNITS" => 64.0,
        "SLICES" => 4.0,
        "OPERATION" => 3.0,
        "TRANSPOSED" | "PROJECTED" | "coupled" | "peepholes" => 1.0,
        "STAGE" | "c" => 0.0,
        "bound" => 3.0,
        // HardSigmoid.
        "kind" => 13.0,
        "a" => 0.2,
        "b" => 0.5,
        _ => panic!("a value for the constant '{name}'"),
    };
    names.map(|name| (name.clone(), serde_json::json!(value(&name)))).collect()
}

/// Writes every text as JSON for `scripts/portability`.
#[test]
#[ignore = "of use to scripts/portability only"]
fn texts_for_another_compiler() {
    let (native, texts): (Vec<_>, Vec<_>) =
        sources().into_iter().partition(|kernel| NATIVE_ONLY.contains(&kernel.name));
    let texts: Vec<_> = texts
        .iter()
        .map(|kernel| {
            // A software driver takes a second and more for a pipeline: one precision, the two cells that have every
            // stage between them, one with single rows, and one number of held groups, that of the constants above.
            let variants = [" F32", "lstm F32", "gru_reset_before F32"].into_iter().zip([4, 4, 1]);
            let products = ["Streamed", "Held(4)", "Handed(4)", "Tiled(2)"];
            let linked = variants
                .flat_map(|(start, rows)| products.map(|from| format!("{start}, {from}, {rows} rows")))
                .any(|variant| kernel.variant == variant);
            serde_json::json!({
                "kernel": kernel.name,
                "variant": kernel.variant.trim(),
                "source": kernel.source,
                "subgroups": kernel.subgroups,
                "half": kernel.half,
                "bindings": kernel.bindings,
                "constants": linked.then(|| constants(&kernel.source)),
            })
        })
        .collect();
    let native: BTreeSet<_> = native.iter().map(|kernel| kernel.name).collect();
    let path = std::env::var_os("WGPU_RNN_TEXTS").expect("WGPU_RNN_TEXTS: the file to write");
    let dump = serde_json::json!({ "texts": texts, "native_only": native });
    fs::write(path, serde_json::to_vec(&dump).unwrap()).unwrap();
}
