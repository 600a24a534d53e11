//! `summary`: the layers of a model, as Keras prints them.

use crate::{args::SummaryArgs, failure::Outcome, files::print, setup};

pub(crate) fn summary(args: &SummaryArgs) -> Outcome<()> {
    let model = setup::model(&args.model)?;
    let mut text = model.summary();
    if args.verbose {
        text = format!("{text}\nOptions in force:\n{}", model.options_text());
    }
    Ok(print(text.trim_end_matches('\n'))?)
}
