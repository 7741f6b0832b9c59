//! Who may import whom inside `ekka-core`: vocabulary → shared facts → wire → rooms → control.

use crate::tidy::source::{Tree, code_outside_tests, is_word, line_of};

const SOURCES: &str = "crates/ekka-core/src/";

/// The layer of each module; a module may import lower layers, and itself.
const LAYERS: [&[&str]; 6] = [
    &["id", "time", "rng", "limits"],
    &["view", "event", "decision", "machine", "schema"],
    &["wire", "consensus"],
    // What the state of a group is made of.
    &["lock"],
    &["membership", "autocluster", "identity", "durable", "lease", "volatile", "autoheal", "autoclean", "table", "rpc"],
    &["control"],
];

/// In these layers modules may import each other.
const OPEN_LAYERS: [usize; 2] = [0, 1];

/// What one room may take from another: plain records, never state.
const SHARED: [(&str, &str, &[&str]); 5] = [
    ("autocluster", "durable", &["absorb", "Chains", "Faults", "Founder", "MergeRecord"]),
    ("autocluster", "membership", &["Record", "Roster", "Seat"]),
    ("durable", "lease", &["Agreed", "Cause", "GoneEntry", "Terms"]),
    ("durable", "membership", &["RemovalCause", "Seat"]),
    ("durable", "volatile", &["Decided", "Generation", "Proposal", "Version"]),
];

/// Complaints about imports that point upwards or sideways.
pub(crate) fn direction(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in tree.rust() {
        let Some(inner) = path.strip_prefix(SOURCES) else { continue };
        let modules = module_path(inner);
        let Some(module) = modules.first() else { continue };
        let Some(layer) = layer_of(module) else {
            complaints.push(format!("{path}: module `{module}` has no layer: give it one in LAYERS"));
            continue;
        };
        let code = code_outside_tests(path, text);
        for Import { at, module: target, items } in imports(&code, modules.len()) {
            let Some(other) = layer_of(&target) else { continue };
            let allowed = target == *module
                || other < layer
                || (other == layer && OPEN_LAYERS.contains(&layer))
                || shared(module, &target, &items);
            if !allowed {
                complaints.push(format!(
                    "{path}:{}: `{module}` imports `{target}` ({}): it may use lower layers only",
                    line_of(&code, at),
                    items.join(", ")
                ));
            }
        }
    }
    complaints
}

/// `wire/frame.rs` → `[wire, frame]`; `lib.rs` → nothing.
fn module_path(inner: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = inner.trim_end_matches(".rs").split('/').collect();
    if parts.last().is_some_and(|last| ["mod", "lib"].contains(last)) {
        parts.pop();
    }
    parts
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn shared(from: &str, target: &str, items: &[String]) -> bool {
    SHARED.iter().any(|(room, other, allowed)| {
        from == *room
            && target == *other
            && !items.is_empty()
            && items.iter().all(|item| allowed.contains(&item.as_str()))
    })
}

/// A path that leads into another module of the crate, and the names that it takes there.
struct Import {
    at: usize,
    module: String,
    items: Vec<String>,
}

/// All paths that begin at the root of the crate, by `crate::` or by enough `super::`.
fn imports(code: &str, depth: usize) -> Vec<Import> {
    let up = "super::".repeat(depth);
    let mut found = Vec::new();
    for root in ["crate::", up.as_str()] {
        for (at, _) in code.match_indices(root) {
            if at > 0 && (is_word(code.as_bytes()[at - 1]) || code.as_bytes()[at - 1] == b':') {
                continue;
            }
            for path in group(&code[at + root.len()..]) {
                let mut names = path.split("::");
                let module = names.next().unwrap_or_default().to_owned();
                let items =
                    names.next().filter(|item| !item.is_empty()).map(|item| vec![item.to_owned()]).unwrap_or_default();
                found.push(Import { at, module, items });
            }
        }
    }
    found
}

/// The paths of `{a, b::{c, d}}`, or the one path that the text begins with. A nested group stays with its first name.
fn group(text: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.chars().take_while(|c| c.is_alphanumeric() || "_:".contains(*c)).collect::<String>()
    };
    let Some(inner) = text.strip_prefix('{') else {
        let plain = name(text);
        let rest = &text[plain.len()..];
        // `membership::{Record, Roster}`: one path for each, so that every name is seen.
        if let Some(module) = plain.strip_suffix("::")
            && rest.starts_with('{')
        {
            return group(rest).iter().map(|item| format!("{module}::{item}")).collect();
        }
        return vec![plain];
    };
    split_group(inner).into_iter().flat_map(|part| group(part.trim())).filter(|path| !path.is_empty()).collect()
}

/// Splits at the commas of the outermost group, up to its closing brace.
fn split_group(inner: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0usize, 0, Vec::new());
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push(&inner[start..at]);
                return parts;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts
}

#[cfg(test)]
fn complaints_about(module: &str, text: &str) -> usize {
    direction(&Tree::of(&[(&format!("{SOURCES}{module}.rs"), text)])).len()
}

#[test]
fn imports_upwards_and_sideways_are_seen() {
    assert_eq!(complaints_about("wire/mod", "use crate::membership::Member;"), 1);
    assert_eq!(complaints_about("wire/mod", "use crate::{id::NodeId, control::{Input, Output}};"), 2);
    assert_eq!(complaints_about("membership/fail", "fn f() { crate::autocluster::go() }"), 1);
    assert_eq!(complaints_about("membership/fail", "use super::super::identity::X;"), 1);
    assert_eq!(complaints_about("autocluster/mod", "use crate::membership::{Record, Detector};"), 1);
    assert_eq!(complaints_about("autocluster/mod", "use crate::membership;"), 1);
    assert_eq!(complaints_about("new_room", "fn f() {}"), 1);
}

#[test]
fn imports_downwards_are_fine() {
    assert_eq!(
        complaints_about("autocluster/mod", "use crate::membership::{Record, Roster};\nuse crate::view::View;"),
        0
    );
    assert_eq!(complaints_about("control/mod", "use crate::{membership, identity, autocluster::Vote};"), 0);
    assert_eq!(complaints_about("event", "use crate::decision::DecisionId;"), 0);
    assert_eq!(complaints_about("membership/fail", "use super::Member; use crate::membership::Config;"), 0);
    assert_eq!(complaints_about("wire/mod", "#[cfg(test)]\nmod tests { use crate::control::Input; }"), 0);
    assert_eq!(complaints_about("wire/mod", "// crate::control::Input\nfn f() {}"), 0);
}
