//! Did you mean?

/// Words longer than this are not typing errors of anything known.
const LONGEST: usize = 40;

/// The known word that `word` is most likely a typing error of.
pub(super) fn similar<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.is_empty() || word.len() > LONGEST {
        return None;
    }
    let word = word.to_lowercase().replace('-', "_");
    let allowed = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .filter(|other| other.len() <= LONGEST)
        .map(|other| (strsim::damerau_levenshtein(&word, &other.replace('-', "_")), other))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, other)| other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let known = ["memory", "mounts", "idle_timeout", "env"];
        assert_eq!(similar("memmory", known), Some("memory"));
        assert_eq!(similar("Idle-Timeout", known), Some("idle_timeout"));
        assert_eq!(similar("evn", known), Some("env"));
        assert_eq!(similar("colour", known), None);
        assert_eq!(similar("", known), None);
        assert_eq!(similar(&"m".repeat(100), known), None);
    }
}
