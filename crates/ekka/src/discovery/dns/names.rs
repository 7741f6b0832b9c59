//! Which names are asked for one that is configured: the search list, as the C library of the system goes through it.

/// The names to ask, in order, each fully qualified (with the dot at its end).
///
/// A name that ends in a dot is taken as it is. One with at least `ndots` dots is tried as it is first and in the search
/// domains then, one with fewer the other way round. Names too long for DNS are passed over.
pub(super) fn names(name: &str, search: &[String], ndots: usize) -> Vec<String> {
    if name.ends_with('.') {
        return vec![name.to_owned()];
    }
    let whole = format!("{name}.");
    let mut names: Vec<String> = Vec::new();
    let add = |names: &mut Vec<String>, name: String| {
        if name.len() <= NAME_LEN_MAX && !names.contains(&name) {
            names.push(name);
        }
    };
    let plain_first = name.bytes().filter(|byte| *byte == b'.').count() >= ndots;
    if plain_first {
        add(&mut names, whole.clone());
    }
    for domain in search {
        let domain = domain.trim_matches('.');
        add(&mut names, if domain.is_empty() { whole.clone() } else { format!("{name}.{domain}.") });
    }
    add(&mut names, whole);
    names
}

/// Longest name in text, its last dot included (255 octets on the wire).
const NAME_LEN_MAX: usize = 254;

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str, search: &[&str], ndots: usize) -> Vec<String> {
        names(name, &search.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>(), ndots)
    }

    #[test]
    fn names_with_few_dots_go_through_the_search_domains_first() {
        assert_eq!(asked("ekka", &["a.example", "b"], 1), ["ekka.a.example.", "ekka.b.", "ekka."]);
        assert_eq!(asked("ekka.x", &["a.example", "b"], 1), ["ekka.x.", "ekka.x.a.example.", "ekka.x.b."]);
        assert_eq!(asked("e.ns.svc", &["cluster.local"], 5), ["e.ns.svc.cluster.local.", "e.ns.svc."]);
    }

    #[test]
    fn a_name_that_ends_in_a_dot_is_taken_as_it_is() {
        assert_eq!(asked("ekka.", &["a.example"], 5), ["ekka."]);
    }

    #[test]
    fn no_name_is_asked_twice_and_none_that_is_too_long() {
        assert_eq!(asked("ekka", &["a", "a.", "."], 1), ["ekka.a.", "ekka."]);
        let long = "x".repeat(250);
        assert_eq!(asked("ekka", &[&long], 1), ["ekka."]);
    }
}
