//! Which keys are whose: nodes at `<prefix>/<cluster.name>/<node.name>`, the id at `<prefix>/<cluster.name>/id`. A
//! node's name holds an `@`, so none is called `id`.

use ekka_core::id::NodeName;

/// The name of the id's key below the base.
pub(super) const ID: &str = "id";

/// Whether that is what a node's key or the id's is called below the base.
pub(super) fn is_ours(name: &str) -> bool {
    name == ID || name.parse::<NodeName>().is_ok()
}

/// The keys of one cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Layout {
    base: String,
}

impl Layout {
    pub(super) fn new(prefix: &str, cluster_name: &str) -> Self {
        let prefix = prefix.trim_matches('/');
        let base = if prefix.is_empty() { format!("{cluster_name}/") } else { format!("{prefix}/{cluster_name}/") };
        Self { base }
    }

    /// What all keys begin with. It ends in a slash, so that `ekka` is no beginning of `ekka2`.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// The first key that is not below the base any more.
    pub(super) fn end(&self) -> String {
        let without = self.base.strip_suffix('/').unwrap_or(&self.base);
        format!("{without}0") // the character that follows the slash
    }

    /// The key of a node.
    pub(super) fn node(&self, name: &NodeName) -> String {
        format!("{}{name}", self.base)
    }

    /// The key of the id.
    pub(super) fn id(&self) -> String {
        format!("{}{ID}", self.base)
    }

    /// The part of a key below the base.
    pub(super) fn below<'a>(&self, key: &'a str) -> Option<&'a str> {
        key.strip_prefix(self.base.as_str()).filter(|rest| !rest.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_one_cluster_are_none_of_another() {
        let layout = Layout::new("/ekkacl/", "ekka");
        assert_eq!((layout.base(), layout.end().as_str()), ("ekkacl/ekka/", "ekkacl/ekka0"));
        assert_eq!(layout.id(), "ekkacl/ekka/id");
        let name: NodeName = "n1@10.0.0.1".parse().expect("a name");
        assert_eq!(layout.node(&name), "ekkacl/ekka/n1@10.0.0.1");
        assert_eq!(layout.below("ekkacl/ekka/n1@10.0.0.1"), Some("n1@10.0.0.1"));
        for other in ["ekkacl/ekka2/n1@h", "ekkacl/ekka", "ekkacl/ekka/", "x"] {
            assert_eq!(layout.below(other), None, "{other}");
            assert!(other < layout.base() || other >= layout.end().as_str() || other == layout.base(), "{other}");
        }
        assert_eq!(Layout::new("", "ekka").base(), "ekka/");
    }
}
