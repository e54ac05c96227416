//! Medians, quantiles and ratios of few samples.

/// The middle of the values, or the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get(sorted.len() / 2 - 1)?;
    Some(f64::midpoint(lower, upper))
}

/// The value below which a part of `sorted` lies, by the nearest rank; zero without values.
pub(crate) fn quantile(sorted: &[f64], part: f64) -> f64 {
    let count = f64::from(u32::try_from(sorted.len()).unwrap_or(u32::MAX));
    let rank = (count * part).ceil();
    let found = sorted
        .iter()
        .zip(1_u32..)
        .find(|(_, place)| f64::from(*place) >= rank);
    found.map_or(0.0, |(value, _)| *value)
}

/// The median of the ratios within pairs. Pairs whose second is zero tell nothing.
pub(crate) fn median_ratio(pairs: &[(f64, f64)]) -> Option<f64> {
    let ratios: Vec<f64> = pairs
        .iter()
        .filter(|(_, below)| *below > 0.0)
        .map(|(above, below)| above / below)
        .collect();
    median(&ratios)
}

#[cfg(test)]
mod tests {
    use super::{median, median_ratio, quantile};

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(median(&[4.0, 1.0, 3.0]), Some(3.0));
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let sorted: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&sorted, 0.5), 50.0);
        assert_eq!(quantile(&sorted, 0.99), 99.0);
        assert_eq!(quantile(&[7.0], 0.99), 7.0);
    }

    #[test]
    fn ratios_are_taken_within_pairs_before_their_median() {
        let pairs = [(10.0, 1.0), (20.0, 10.0), (3.0, 1.0), (5.0, 0.0)];
        assert_eq!(median_ratio(&pairs), Some(3.0));
    }
}
