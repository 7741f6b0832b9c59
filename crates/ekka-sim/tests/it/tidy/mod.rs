//! The rules that no compiler knows: who may import whom, how long things get, what may not be left lying about.
//!
//! Each rule is a function from the files of the project to complaints, proven on bad examples beside the real tree.
//! Lists of exceptions (`long_files.txt`, `long_functions.txt`) may only shrink.

mod bans;
mod documents;
mod layers;
mod lengths;
mod manifests;
mod modules;
mod source;

use source::Tree;

/// Fails with all complaints of one rule at once.
fn assert_tidy(rule: &str, complaints: &[String]) {
    assert!(complaints.is_empty(), "{rule}: {} complaints\n  {}", complaints.len(), complaints.join("\n  "));
}

#[test]
fn the_tree_is_found_at_all() {
    let tree = Tree::read();
    assert!(tree.rust().count() > 20, "only {} Rust files found", tree.rust().count());
    assert!(tree.text("Cargo.toml").is_some());
}

#[test]
fn crates_depend_in_one_direction() {
    assert_tidy("direction of crates", &manifests::direction(&Tree::read()));
}

#[test]
fn rooms_of_the_core_import_downwards_only() {
    assert_tidy("direction of rooms", &layers::direction(&Tree::read()));
}

#[test]
fn files_are_short() {
    assert_tidy("length of files", &lengths::files(&Tree::read()));
}

#[test]
fn functions_are_short_and_exceptions_only_shrink() {
    assert_tidy("length of functions", &lengths::functions(&Tree::read()));
}

#[test]
fn the_core_has_no_clock_no_hash_map_and_no_async() {
    assert_tidy("bans in the core", &bans::core(&Tree::read()));
}

#[test]
fn nothing_is_left_lying_about() {
    assert_tidy("leftovers", &bans::leftovers(&Tree::read()));
}

#[test]
fn libraries_do_not_print() {
    assert_tidy("printing", &bans::printing(&Tree::read()));
}

#[test]
fn tests_do_not_sleep() {
    assert_tidy("sleeps", &bans::sleeps(&Tree::read()));
}

#[test]
fn no_file_names_a_machine_or_a_registry() {
    assert_tidy("places", &bans::places(&Tree::read()));
}

#[test]
fn every_file_of_tests_is_declared() {
    assert_tidy("modules", &modules::undeclared(&Tree::read()));
}

#[test]
fn every_example_of_configuration_has_both_styles() {
    assert_tidy("examples", &documents::examples(&Tree::read()));
}

#[test]
fn every_dependency_has_its_reason() {
    assert_tidy("dependencies", &documents::dependencies(&Tree::read()));
}
