//! Batch first or time first. The package `peers-worker` has this file, too.

/// `[first, second, features]` as `[second, first, features]`.
pub(crate) fn swapped(values: &[f32], first: usize, second: usize) -> Vec<f32> {
    let features = values.len() / (first * second).max(1);
    let rows = (0..second).flat_map(|inner| (0..first).map(move |outer| outer * second + inner));
    rows.filter_map(|row| values.get(row * features..(row + 1) * features)).flatten().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_and_time_change_places() {
        let values: Vec<f32> = (0..12u8).map(f32::from).collect();
        let turned = swapped(&values, 2, 3);
        assert_eq!(turned, [0.0, 1.0, 6.0, 7.0, 2.0, 3.0, 8.0, 9.0, 4.0, 5.0, 10.0, 11.0]);
        assert_eq!(swapped(&turned, 3, 2), values);
    }
}
