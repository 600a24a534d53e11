//! `devices`: what this machine can run on.

use serde_json::json;
use wgpu_rnn::Error;

use crate::{
    args::DevicesArgs,
    failure::Outcome,
    files::{note, print},
    progress::busy,
    setup::all_cores,
    table::table,
};

/// An adapter, as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Adapter {
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) backend: String,
    pub(crate) driver: String,
    pub(crate) is_software: bool,
}

/// The adapters of this machine, in order of preference.
#[cfg(feature = "gpu")]
pub(crate) fn adapters() -> Result<Vec<Adapter>, Error> {
    let _busy = busy("looking for adapters");
    let found = wgpu_rnn::gpu::adapters()?;
    let listed = found.into_iter().map(|info| Adapter {
        name: info.name,
        kind: info.kind.name(),
        backend: info.backend,
        driver: info.driver,
        is_software: info.kind == wgpu_rnn::gpu::AdapterKind::Software,
    });
    Ok(listed.collect())
}

/// The adapters of this machine: none are known to a program without GPU support.
#[cfg(not(feature = "gpu"))]
pub(crate) fn adapters() -> Result<Vec<Adapter>, Error> {
    let _busy = busy("looking for adapters");
    Err(crate::setup::without_gpu())
}

/// [`adapters`], with a remark on standard error where there are none.
pub(crate) fn adapters_or_remark() -> Result<Vec<Adapter>, Error> {
    match adapters() {
        Err(error @ Error::NoAdapter { .. }) => {
            note(&crate::failure::one_line(&error.to_string()));
            Ok(Vec::new())
        }
        other => other,
    }
}

/// A row of the list.
struct Row {
    name: String,
    kind: &'static str,
    backend: Option<String>,
    driver: Option<String>,
    /// Whether `auto` may take it.
    is_default: bool,
}

pub(crate) fn devices(args: &DevicesArgs) -> Outcome<()> {
    let rows = rows(adapters_or_remark()?);
    if args.json.on {
        let devices: Vec<_> = rows
            .iter()
            .map(|row| json!({"name": row.name, "kind": row.kind, "backend": row.backend, "driver": row.driver, "default": row.is_default}))
            .collect();
        return Ok(print(&json!({"schema": 1, "devices": devices}).to_string())?);
    }
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let text: Vec<_> = rows
        .iter()
        .map(|row| {
            let default = if row.is_default { "yes" } else { "" };
            vec![row.name.clone(), row.kind.to_owned(), or_dash(&row.backend), or_dash(&row.driver), default.to_owned()]
        })
        .collect();
    Ok(print(&table(&["name", "kind", "backend", "driver", "auto"], &[], &text))?)
}

fn rows(adapters: Vec<Adapter>) -> Vec<Row> {
    let hardware = adapters.iter().position(|adapter| !adapter.is_software);
    let mut rows: Vec<Row> = adapters
        .into_iter()
        .enumerate()
        .map(|(index, adapter)| Row {
            name: adapter.name,
            kind: adapter.kind,
            backend: Some(adapter.backend),
            driver: Some(adapter.driver),
            is_default: hardware == Some(index),
        })
        .collect();
    let on_cpu = |name: String, kind, is_default| Row { name, kind, backend: None, driver: None, is_default };
    let cores = match all_cores() {
        1 => "CPU, 1 core".to_owned(),
        cores => format!("CPU, {cores} cores"),
    };
    rows.push(on_cpu(cores, "cpu", true));
    rows.push(on_cpu("f64 reference".to_owned(), "reference", false));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_takes_hardware_or_the_cpu() {
        let adapter = |name: &str, is_software| Adapter {
            name: name.to_owned(),
            kind: if is_software { "software" } else { "discrete" },
            backend: "vulkan".to_owned(),
            driver: String::new(),
            is_software,
        };
        let defaults =
            |adapters| rows(adapters).into_iter().filter(|row| row.is_default).map(|row| row.kind).collect::<Vec<_>>();
        assert_eq!(defaults(vec![adapter("llvmpipe", true)]), ["cpu"]);
        assert_eq!(defaults(vec![adapter("big", false), adapter("llvmpipe", true)]), ["discrete", "cpu"]);
        assert_eq!(defaults(Vec::new()), ["cpu"]);
    }
}
