//! The weights of a legacy `.h5` file: per layer of the outermost model a group with a list of names.
//! Keras goes by the order of the list, which holds all that was trainable before all that was not; here
//! the names say which is which, and where they do not, the file is refused.

use std::collections::{BTreeMap, BTreeSet};

use super::{archive::malformed, hdf5::Datasets, weights::Link};
use crate::error::{Result, listed, quoted};

/// The lists of weights, by layer of the outermost model.
pub(super) struct Legacy {
    layers: BTreeMap<String, Vec<Listed>>,
}

/// A weight of a list.
struct Listed {
    /// `model_weights/lstm/lstm/lstm_cell/kernel:0`
    path: String,
    /// `lstm`, `lstm_cell`
    parents: Vec<String>,
    /// `kernel`
    role: String,
}

/// The groups that may hold the layers: of a whole model, of weights alone.
const ROOTS: [&str; 2] = ["model_weights", ""];
/// The group of weights that the model has beside its layers.
const OWN: &str = "top_level_model_weights";

impl Legacy {
    /// The lists, if the file has any.
    pub(super) fn new(datasets: &Datasets) -> Result<Option<Self>> {
        for root in ROOTS {
            let there = root.is_empty() || datasets.has_group(root);
            if let Some(names) = there.then(|| texts(datasets, root, "layer_names")).transpose()?.flatten() {
                return Self::read(datasets, root, names).map(Some);
            }
        }
        Ok(None)
    }

    fn read(datasets: &Datasets, root: &str, names: Vec<String>) -> Result<Self> {
        let below = |name: &str| if root.is_empty() { name.to_owned() } else { format!("{root}/{name}") };
        let mut layers: BTreeMap<String, Vec<Listed>> = BTreeMap::new();
        let own = Some(OWN.to_owned()).filter(|own| datasets.has_group(&below(own)));
        for name in names.into_iter().chain(own) {
            let group = below(&name);
            if !datasets.has_group(&group) {
                return Err(malformed(datasets.name(), format!("a group {}", quoted(&group)), "none"));
            }
            let mut list = Vec::new();
            for weight in texts(datasets, &group, "weight_names")?.unwrap_or_default() {
                let path = format!("{group}/{weight}");
                if !datasets.entries().contains_key(&path) {
                    return Err(malformed(datasets.name(), format!("a dataset {}", quoted(&path)), "none"));
                }
                let mut parents: Vec<String> = weight.split('/').map(str::to_owned).collect();
                let role = parents.pop().unwrap_or_default();
                let role = role.split(':').next().unwrap_or_default().to_owned();
                list.push(Listed { path, parents, role });
            }
            if layers.insert(name.clone(), list).is_some() {
                return Err(malformed(
                    datasets.name(),
                    "layers with names of their own",
                    format!("two of {}", quoted(&name)),
                ));
            }
        }
        Ok(Self { layers })
    }

    /// The path of the weight called `role` of the layer that the names in `chain` lead to: of those not
    /// `taken` the first. The path of its object, as Keras 3 would have it, tells the directions apart. An
    /// error says what there is.
    pub(super) fn find(
        &self,
        chain: &[Link],
        object: &str,
        role: &str,
        taken: &BTreeSet<String>,
    ) -> std::result::Result<String, String> {
        let (outermost, inner) = chain.split_first().ok_or("no layer")?;
        let list = self.layers.get(&outermost.name).ok_or("no such layer")?;
        let opposite = if object.contains("/forward_layer") {
            Some("backward_")
        } else if object.contains("/backward_layer") {
            Some("forward_")
        } else {
            None
        };
        let is_other = |parent: &String| opposite.is_some_and(|opposite| parent.starts_with(opposite));
        let mut found: Vec<&Listed> = list
            .iter()
            .filter(|weight| weight.role == role && !taken.contains(&weight.path))
            .filter(|weight| !weight.parents.iter().any(is_other))
            .collect();
        // From the innermost name outwards: what has none of a layer's name is of another layer.
        for (index, link) in inner.iter().enumerate().rev() {
            let named: Vec<&Listed> =
                found.iter().copied().filter(|weight| weight.parents.contains(&link.name)).collect();
            let may_lack = link.is_wrapped || index + 1 < inner.len();
            if !named.is_empty() || !may_lack {
                found = named;
            }
        }
        match found.first() {
            Some(weight) => Ok(weight.path.clone()),
            None => Err(listed(list.iter().map(|weight| weight.path.as_str()))),
        }
    }
}

/// A list of texts, which Keras writes in parts where it is long.
fn texts(datasets: &Datasets, group: &str, attribute: &str) -> Result<Option<Vec<String>>> {
    if let Some(texts) = datasets.texts(group, attribute)? {
        return Ok(Some(texts));
    }
    let mut all = Vec::new();
    let mut part = 0;
    while let Some(texts) = datasets.texts(group, &format!("{attribute}{part}"))? {
        all.extend(texts);
        part += 1;
    }
    Ok((part > 0).then_some(all))
}
