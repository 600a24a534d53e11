//! `demo`: the language of texts, then the devices of this machine side by side.

use std::{fmt::Write, time::Duration};

use serde_json::{Value, json};
use wgpu_rnn::{Device, Error, Outputs, Tensor};

use crate::{
    args::{DemoArgs, HowArgs},
    devices,
    failure::{Failure, Outcome, one_line},
    files::{note, print},
    language::{self, Identifier, Language},
    progress::busy,
    setup,
    table::{error_text, ms_text, table},
    timing::{self, Effort},
};

/// Runner-ups per text.
const RUNNERS_UP: usize = 2;
/// Least probability of a runner-up that people are shown.
const WORTH_SHOWING: f32 = 0.001;
const BAR: usize = 24;
const EFFORT: Effort = Effort { runs: None, time: Duration::from_millis(500), most: 20 };
const HOW: HowArgs = HowArgs::PLAIN;

/// A text and its languages, the most probable first; none for a text without letters.
struct Answer {
    text: String,
    guesses: Vec<(Language, f32)>,
}

/// A device and how it did.
struct Row {
    label: String,
    kind: &'static str,
    adapter: Option<String>,
    is_software: bool,
    result: Result<(f64, f64, bool), Error>,
}

pub(crate) fn demo(args: &DemoArgs) -> Outcome<()> {
    let identifier = Identifier::load()?;
    let texts = if args.texts.is_empty() { language::samples()? } else { args.texts.clone() };
    let ids: Vec<Vec<i32>> = texts.iter().map(|text| identifier.encode(text)).collect();
    let readable: Vec<Vec<i32>> = ids.iter().filter(|ids| !ids.is_empty()).cloned().collect();
    if readable.is_empty() {
        return Err(Failure::usage("there are no letters to tell a language by"));
    }
    let name = identifier.model.inputs().into_iter().next().map(|input| input.name).unwrap_or_default();
    let inputs = vec![(name, language::batch(&readable)?)];
    let adapters = devices::adapters_or_remark()?;

    let working = busy("running on every device");
    let expected = timing::expected(&identifier.model, &HOW, &inputs)?;
    let mut answered: Option<(Outputs, String)> = None;
    let mut rows = Vec::new();
    let gpus = adapters.iter().map(|adapter| (Device::Gpu(Some(adapter.name.clone())), Some(adapter)));
    for (device, adapter) in gpus.chain([(Device::Cpu, None)]) {
        let timed = timing::time(&identifier.model, device, &HOW, &inputs, EFFORT);
        let mut row = Row {
            label: adapter.map_or("CPU".to_owned(), |adapter| adapter.name.clone()),
            kind: if adapter.is_some() { "gpu" } else { "cpu" },
            adapter: adapter.map(|adapter| adapter.name.clone()),
            is_software: adapter.is_some_and(|adapter| adapter.is_software),
            result: Ok((0.0, 0.0, true)),
        };
        row.result = timed.and_then(|timed| {
            let verification = timed.verification(&expected)?;
            row.adapter = setup::adapter(timed.session.device()).map(str::to_owned);
            // The first one that `auto` may take.
            if answered.is_none() && !row.is_software {
                answered = Some((timed.outputs, setup::device_text(timed.session.device())));
            }
            Ok((timed.times.median(), verification.max_abs_error(), verification.passed()))
        });
        rows.push(row);
    }
    drop(working);

    if let Some((outputs, on)) = &answered {
        let answers = answers(&identifier, texts, &ids, outputs.single()?)?;
        if args.json.on {
            print(&json_text(&answers, &rows))?;
        } else {
            let parameters = identifier.model.parameter_count();
            print(&text(
                &answers,
                &rows,
                &format!("Read character by character by a recurrent network of {parameters} parameters, on {on}."),
            ))?;
        }
    }
    verdict(rows)
}

fn answers(
    identifier: &Identifier,
    texts: Vec<String>,
    ids: &[Vec<i32>],
    output: &Tensor,
) -> Result<Vec<Answer>, Error> {
    let values = output.to_f32();
    let mut rows = values.chunks(identifier.languages.len().max(1));
    let mut answers = Vec::new();
    for (text, ids) in texts.into_iter().zip(ids) {
        let row = if ids.is_empty() { Some([].as_slice()) } else { rows.next() };
        let row = row.ok_or_else(|| Error::Internal { what: "an output without all of its rows".to_owned() })?;
        let mut guesses: Vec<(Language, f32)> = identifier.languages.iter().cloned().zip(row.iter().copied()).collect();
        guesses.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        guesses.truncate(1 + RUNNERS_UP);
        answers.push(Answer { text, guesses });
    }
    Ok(answers)
}

fn text(answers: &[Answer], rows: &[Row], how: &str) -> String {
    let mut out = String::new();
    let width =
        answers.iter().flat_map(|answer| &answer.guesses).map(|(language, _)| language.name.chars().count()).max();
    let width = width.unwrap_or(0);
    for answer in answers {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{}", one_line(&answer.text));
        if answer.guesses.is_empty() {
            let _ = writeln!(out, "    no letters to tell a language by");
        }
        let shown = answer.guesses.iter().enumerate().filter(|(rank, (_, p))| *rank == 0 || *p >= WORTH_SHOWING);
        for (rank, (language, probability)) in shown {
            let percent = f64::from(*probability) * 100.0;
            let bar = if rank == 0 { bar(*probability) } else { String::new() };
            let _ = writeln!(out, "    {:width$}  {percent:5.1} %  {bar}", language.name);
        }
        out.push('\n');
    }
    let rows: Vec<_> = rows.iter().map(Row::cells).collect();
    let lines: Vec<&str> = out.lines().map(str::trim_end).collect();
    format!("{}\n{how}\n\n{}", lines.join("\n"), table(&["device", "kind", "time", "worst error"], &[2, 3], &rows))
}

fn bar(probability: f32) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // 0 to 24
    let full = (probability.clamp(0.0, 1.0) * BAR as f32).round() as usize;
    "█".repeat(full)
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let kind = if self.is_software { "software" } else { self.kind };
        let (time, error) = match &self.result {
            Ok((ms, error, _)) => (ms_text(*ms), error_text(*error)),
            Err(_) => ("failed".to_owned(), "-".to_owned()),
        };
        vec![self.label.clone(), kind.to_owned(), time, error]
    }
}

fn json_text(answers: &[Answer], rows: &[Row]) -> String {
    let guess = |(language, probability): &(Language, f32)| json!({"code": language.code, "language": language.name, "probability": probability});
    let texts: Vec<Value> = answers
        .iter()
        .map(|answer| json!({"text": answer.text, "languages": answer.guesses.iter().map(guess).collect::<Vec<_>>()}))
        .collect();
    let devices: Vec<Value> = rows
        .iter()
        .map(|row| {
            let done = row.result.as_ref().ok();
            json!({
                "device": row.kind,
                "adapter": row.adapter,
                "software": row.is_software,
                "ms": done.map(|(ms, _, _)| ms),
                "max_abs_error": done.map(|(_, error, _)| error),
            })
        })
        .collect();
    json!({"schema": 1, "texts": texts, "devices": devices}).to_string()
}

/// The worst that happened on any device.
fn verdict(rows: Vec<Row>) -> Outcome<()> {
    let mut worst = Ok(());
    for row in rows {
        let name = row.label;
        match row.result {
            Ok((_, _, true)) => {}
            Ok((_, error, false)) => {
                let error = error_text(error);
                worst = Err(Failure::new(
                    Failure::NOT_VERIFIED,
                    format!("{name}: not within the tolerance (worst error {error})"),
                ));
            }
            Err(error) if worst.is_ok() => worst = Err(error.into()),
            Err(error) => note(&format!("{name}: {}", one_line(&error.to_string()))),
        }
    }
    worst
}
