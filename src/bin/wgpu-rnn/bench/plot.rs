//! Times over what varies, as an SVG drawing: sequence length, batch, hidden size; one line per device and
//! setting of the others, and a mark where the GPU overtakes the CPU.

use plotters::prelude::*;
use wgpu_rnn::Error;

use super::measure::Row;

/// A dimension that may vary.
type Axis = (&'static str, fn(&Row) -> Option<usize>);

const AXES: [Axis; 3] = [
    ("sequence length", |row| Some(row.seq_len)),
    ("batch", |row| Some(row.batch)),
    ("hidden size", |row| row.workload.map(|workload| workload.layers.hidden)),
];
const SIZE: (u32, u32) = (1200, 480);
/// Room for the names of the lines.
const LEGEND: u32 = 340;

/// A line of a panel.
struct Line {
    name: String,
    device: String,
    /// What else was set, the same for the devices that are compared.
    setting: String,
    points: Vec<(f64, f64)>,
}

/// A panel per dimension that varies.
pub(super) fn svg(rows: &[Row]) -> Result<String, Error> {
    let panels: Vec<(&str, Vec<Line>)> = AXES
        .into_iter()
        .map(|(name, of)| (name, lines(rows, of)))
        .filter(|(_, lines)| lines.iter().any(|line| line.points.len() > 1))
        .collect();
    if panels.is_empty() {
        return Err(Error::Mismatch {
            subject: "--plot".to_owned(),
            expected: "several batch sizes, sequence lengths or hidden sizes".to_owned(),
            found: "one of each".to_owned(),
        });
    }
    let mut text = String::new();
    let failed = |cause: &dyn std::fmt::Display| Error::Internal { what: format!("drawing: {cause}") };
    {
        let height = SIZE.1 * u32::try_from(panels.len()).unwrap_or(1);
        let area = SVGBackend::with_string(&mut text, (SIZE.0, height)).into_drawing_area();
        area.fill(&WHITE).map_err(|cause| failed(&cause))?;
        let areas = area.split_evenly((panels.len(), 1));
        for (area, (name, lines)) in areas.iter().zip(&panels) {
            panel(area, name, lines).map_err(|cause| failed(&cause))?;
        }
        area.present().map_err(|cause| failed(&cause))?;
    }
    Ok(text)
}

/// Rows that differ in one dimension only, each as a line.
#[allow(clippy::cast_precision_loss)] // sizes
fn lines(rows: &[Row], of: fn(&Row) -> Option<usize>) -> Vec<Line> {
    let mut all: Vec<Line> = Vec::new();
    for row in rows {
        let Some(x) = of(row) else { continue };
        let fixed: Vec<String> = AXES
            .iter()
            .filter(|(_, other)| *other as usize != of as usize)
            .filter_map(|(name, other)| Some(format!("{name} {}", other(row)?)))
            .collect();
        let kind =
            row.workload.map_or_else(|| row.name.clone(), |workload| workload.layers.cell.spec().name.to_owned());
        let setting = format!("{kind}, {}", fixed.join(", "));
        let point = (x as f64, row.times.median());
        match all.iter_mut().find(|line| line.device == row.label && line.setting == setting) {
            Some(line) => line.points.push(point),
            None => all.push(Line {
                name: format!("{}: {setting}", row.label),
                device: row.label.clone(),
                setting,
                points: vec![point],
            }),
        }
    }
    for line in &mut all {
        line.points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    all
}

/// Where the second line falls below the first, on logarithmic axes.
fn crossing(a: &[(f64, f64)], b: &[(f64, f64)]) -> Option<(f64, f64)> {
    let both: Vec<(f64, f64, f64)> = a
        .iter()
        .filter_map(|&(x, y)| {
            b.iter().find(|(other, _)| (*other - x).abs() < 0.5).map(|&(_, z)| (x.ln(), y.ln(), z.ln()))
        })
        .collect();
    both.windows(2).find_map(|pair| {
        let &[(x0, a0, b0), (x1, a1, b1)] = pair else { return None };
        let (before, after) = (b0 - a0, b1 - a1);
        if before <= 0.0 || after > 0.0 {
            return None;
        }
        let share = before / (before - after);
        Some(((x0 + share * (x1 - x0)).exp(), (a0 + share * (a1 - a0)).exp()))
    })
}

fn panel<'a, B: DrawingBackend + 'a>(
    area: &DrawingArea<B, plotters::coord::Shift>,
    name: &str,
    lines: &[Line],
) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let range = |of: fn(&(f64, f64)) -> f64, room: f64| {
        let low = points().map(of).fold(f64::INFINITY, f64::min);
        let high = points().map(of).fold(0.0, f64::max);
        (low / room).max(1e-6)..(high * room)
    };
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .margin_right(LEGEND + 12)
        .x_label_area_size(36)
        .y_label_area_size(60)
        .build_cartesian_2d(range(|p| p.0, 1.05).log_scale(), range(|p| p.1, 1.3).log_scale())?;
    chart.configure_mesh().x_desc(name).y_desc("median of a run, ms").draw()?;
    for (index, line) in lines.iter().enumerate() {
        let color = Palette99::pick(index).to_rgba();
        chart.draw_series(LineSeries::new(line.points.iter().copied(), color.stroke_width(2)).point_size(3))?;
        // The names stand beside the drawing, not on it.
        let (left, y) = (i32::try_from(SIZE.0 - LEGEND).unwrap_or(0), 24 + 15 * i32::try_from(index).unwrap_or(0));
        area.draw(&PathElement::new([(left, y), (left + 18, y)], color.stroke_width(2)))?;
        area.draw(&Text::new(line.name.clone(), (left + 24, y - 6), ("sans-serif", 12)))?;
    }
    for cpu in lines.iter().filter(|line| line.device == "cpu") {
        for gpu in lines.iter().filter(|line| line.device != "cpu" && line.setting == cpu.setting) {
            let Some((x, y)) = crossing(&cpu.points, &gpu.points) else { continue };
            chart.draw_series(std::iter::once(Circle::new((x, y), 6, BLACK.stroke_width(2))))?;
            let text = format!("{} is faster from {x:.0} on", gpu.device);
            chart.draw_series(std::iter::once(Text::new(text, (x, y), ("sans-serif", 13))))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_cross_where_the_second_becomes_the_lower() {
        let cpu = [(1.0, 1.0), (4.0, 4.0), (16.0, 16.0)];
        let (x, y) = crossing(&cpu, &[(1.0, 2.0), (4.0, 2.0), (16.0, 2.0)]).unwrap();
        assert!((x - 2.0).abs() < 1e-9 && (y - 2.0).abs() < 1e-9);
        assert_eq!(crossing(&cpu, &[(1.0, 0.5), (4.0, 2.0)]), None);
        assert_eq!(crossing(&cpu, &[(1.0, 2.0), (4.0, 8.0)]), None);
    }
}
