//! Figures of several times.

/// Times, ascending.
#[derive(Clone, Debug)]
pub(crate) struct Times(Vec<f64>);

impl FromIterator<f64> for Times {
    fn from_iter<I: IntoIterator<Item = f64>>(times: I) -> Self {
        let mut times: Vec<f64> = times.into_iter().collect();
        times.sort_by(f64::total_cmp);
        Self(times)
    }
}

impl Times {
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn min(&self) -> f64 {
        self.0.first().copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn max(&self) -> f64 {
        self.0.last().copied().unwrap_or(f64::NAN)
    }

    /// The middle one, or the mean of the two in the middle.
    pub(crate) fn median(&self) -> f64 {
        let at = |index: usize| self.0.get(index).copied().unwrap_or(f64::NAN);
        let count = self.0.len();
        if count % 2 == 1 { at(count / 2) } else { f64::midpoint(at(count / 2), at((count / 2).wrapping_sub(1))) }
    }

    /// The smallest that nine of ten do not exceed.
    pub(crate) fn p90(&self) -> f64 {
        let within = (self.0.len() * 9).div_ceil(10);
        self.0.get(within.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }
}

/// How many times as long as `base` something took: in each turn, the medians of both.
pub(crate) fn ratios(of: &[Vec<f64>], base: &[Vec<f64>]) -> Times {
    let median = |turn: &Vec<f64>| turn.iter().copied().collect::<Times>().median();
    of.iter().zip(base).map(|(of, base)| median(of) / median(base)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures() {
        let times: Times = (1..=11).rev().map(f64::from).collect();
        assert_eq!([times.min(), times.median(), times.p90(), times.max()], [1.0, 6.0, 10.0, 11.0]);
        assert_eq!([3.0, 1.0].into_iter().collect::<Times>().median(), 2.0);
        assert!(Times(Vec::new()).median().is_nan());
    }

    #[test]
    fn ratios_are_of_the_same_turn() {
        let ratios = ratios(&[vec![2.0, 9.0, 4.0], vec![30.0]], &[vec![2.0], vec![10.0]]);
        assert_eq!([ratios.min(), ratios.max()], [2.0, 3.0]);
    }
}
