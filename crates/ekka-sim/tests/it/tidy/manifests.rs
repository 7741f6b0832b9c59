//! Who may depend on whom: `ekka-cli → ekka → ekka-core`, `ekka-sim → ekka, ekka-core`.

use crate::tidy::source::Tree;

/// What each crate may use of the workspace.
const ARROWS: [(&str, &[&str]); 5] = [
    ("ekka-core", &[]),
    ("ekka", &["ekka-core"]),
    ("ekka-cli", &["ekka"]),
    ("ekka-sim", &["ekka", "ekka-core"]),
    ("xtask", &[]),
];

/// Foreign crates that belong to some crates only, tests included.
const RESERVED: [(&str, &[&str]); 6] = [
    ("turmoil", &["ekka-sim"]),
    ("anyhow", &["ekka-cli", "xtask"]),
    ("clap", &["ekka-cli", "ekka-sim", "xtask"]),
    ("tracing-subscriber", &["ekka-cli", "ekka-sim"]),
    ("tokio", &["ekka", "ekka-cli", "ekka-sim"]),
    ("foca", &["ekka-core"]),
];

/// Direct dependencies of the core, at most.
const CORE_DEPENDENCIES_MAX: usize = 8;

/// Complaints about arrows that are not drawn above.
pub(crate) fn direction(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    // Peers of the benchmarks stand alone: nothing of the workspace is in them, and they in nothing.
    let manifests = tree.all().filter(|(path, _)| path.ends_with("/Cargo.toml") && !path.starts_with("bench/"));
    for (path, text) in manifests {
        let Some(name) = path.trim_end_matches("/Cargo.toml").rsplit('/').next() else { continue };
        let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == name) else {
            complaints.push(format!("{path}: `{name}` is new: draw its arrows in ARROWS"));
            continue;
        };
        let dependencies = dependencies(text);
        for (_, dependency) in &dependencies {
            let own = ARROWS.iter().any(|(known, _)| known == dependency);
            if own && !allowed.contains(dependency) {
                complaints.push(format!("{path}: `{name}` may not depend on `{dependency}`"));
            }
            if let Some((_, users)) = RESERVED.iter().find(|(reserved, _)| reserved == dependency)
                && !users.contains(&name)
            {
                complaints.push(format!("{path}: `{dependency}` belongs to {} only", users.join(", ")));
            }
        }
        let direct = dependencies.iter().filter(|(section, _)| *section == "dependencies").count();
        if name == "ekka-core" && direct > CORE_DEPENDENCIES_MAX {
            complaints.push(format!("{path}: {direct} direct dependencies; {CORE_DEPENDENCIES_MAX} is the bound"));
        }
    }
    complaints
}

/// Section and name of each dependency, whatever the section is for.
fn dependencies(manifest: &str) -> Vec<(&str, &str)> {
    let mut section = "";
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(head) = line.strip_prefix('[') {
            section = head.trim_end_matches(']');
        } else if section.ends_with("dependencies")
            && !line.starts_with('#')
            && let Some((key, _)) = line.split_once('=')
        {
            found.push((section, key.trim().trim_end_matches(".workspace")));
        }
    }
    found
}

#[test]
fn forbidden_arrows_are_seen() {
    let count = |name: &str, text: &str| direction(&Tree::of(&[(&format!("crates/{name}/Cargo.toml"), text)])).len();
    assert_eq!(count("ekka-core", "[dependencies]\nekka.workspace = true\n"), 1);
    assert_eq!(count("ekka-core", "[dev-dependencies]\ntokio = \"1\"\n"), 1);
    assert_eq!(count("ekka", "[dependencies]\nekka-core.workspace = true\nanyhow.workspace = true\n"), 1);
    assert_eq!(count("ekka-new", ""), 1);
    assert_eq!(count("ekka-cli", "[dependencies]\nekka = { workspace = true }\nanyhow.workspace = true\n"), 0);
    assert_eq!(count("ekka", "[features]\nadmin = [\"dep:anyhow\"]\n"), 0);
    let many: String = (0..9).map(|n| format!("crate{n} = \"1\"\n")).collect();
    assert_eq!(count("ekka-core", &format!("[dependencies]\n{many}")), 1);
}
