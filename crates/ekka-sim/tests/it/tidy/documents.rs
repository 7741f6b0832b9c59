//! What documents and examples must keep up with.

use crate::tidy::source::Tree;

/// Complaints about examples of configuration that exist in one style only.
pub(crate) fn examples(tree: &Tree) -> Vec<String> {
    let examples: Vec<&str> = tree.all().filter_map(|(path, _)| path.strip_prefix("etc/")).collect();
    let mut complaints = Vec::new();
    for strategy in ["manual", "static"] {
        if !examples.contains(&format!("ekka-{strategy}.conf").as_str()) {
            complaints.push(format!("etc/ekka-{strategy}.conf: the strategy `{strategy}` has no example"));
        }
    }
    for example in &examples {
        let other = match example.rsplit_once('.') {
            Some((name, "conf")) => format!("{name}.config"),
            Some((name, "config")) => format!("{name}.conf"),
            _ => continue,
        };
        if !examples.contains(&other.as_str()) {
            complaints.push(format!("etc/{example}: the other style, etc/{other}, is missing"));
        }
    }
    complaints
}

/// Complaints about dependencies without a row, and rows without a dependency, in `docs/dependencies.md`.
pub(crate) fn dependencies(tree: &Tree) -> Vec<String> {
    let table = workspace_table(tree.text("Cargo.toml").unwrap_or_default());
    let rows = rows(tree.text("docs/dependencies.md").unwrap_or_default());
    let mut complaints: Vec<String> = table
        .iter()
        .filter(|name| !rows.contains(name))
        .map(|name| format!("docs/dependencies.md: no row for `{name}`: need, alternatives, size, licence"))
        .collect();
    let unused = rows.iter().filter(|name| !table.contains(name));
    complaints.extend(unused.map(|name| format!("docs/dependencies.md: `{name}` is not in the workspace table")));
    complaints
}

/// Foreign crates of `[workspace.dependencies]`.
fn workspace_table(manifest: &str) -> Vec<&str> {
    let section = manifest.split_once("[workspace.dependencies]").map_or("", |(_, rest)| rest);
    let lines = section.lines().take_while(|line| !line.starts_with('[')).filter(|line| !line.contains("path ="));
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name.trim())
        .filter(|name| !name.starts_with('#'))
        .collect()
}

/// Names in the first column of the tables of a document.
fn rows(document: &str) -> Vec<&str> {
    document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(name, _)| name).collect()
}

#[test]
fn an_example_in_one_style_is_seen() {
    let both = [
        ("etc/ekka-manual.conf", ""),
        ("etc/ekka-manual.config", ""),
        ("etc/ekka-static.conf", ""),
        ("etc/ekka-static.config", ""),
    ];
    assert!(examples(&Tree::of(&both)).is_empty());
    assert_eq!(examples(&Tree::of(&both[..3])).len(), 1);
    assert_eq!(examples(&Tree::of(&both[..2])).len(), 1);
}

#[test]
fn a_dependency_without_a_reason_is_seen() {
    let manifest =
        "[workspace.dependencies]\nekka = { path = \"x\" }\nserde = \"1\"\nring = \"0.17\"\n[profile.x]\ny = 1\n";
    let count = |rows: &str| dependencies(&Tree::of(&[("Cargo.toml", manifest), ("docs/dependencies.md", rows)])).len();
    assert_eq!(count("| crate | need |\n|---|---|\n| `serde` | x |\n| `ring` | y |\n"), 0);
    assert_eq!(count("| `serde` | x |\n"), 1);
    assert_eq!(count("| `serde` | x |\n| `ring` | y |\n| `gone` | z |\n"), 1);
}
