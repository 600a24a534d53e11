//! `summary`: the layers of a model, as Keras prints them.

use crate::{args::SummaryArgs, failure::Outcome, files::print, setup};

pub(crate) fn summary(args: &SummaryArgs) -> Outcome<()> {
    let summary = setup::model(&args.model)?.summary();
    Ok(print(summary.trim_end_matches('\n'))?)
}
