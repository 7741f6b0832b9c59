//! Section 2: discovery only ever suggests whom to contact. Whom it made up is nobody's member.

use std::collections::BTreeSet;

use ekka_core::id::Endpoint;
use ekka_core::view::View;

/// No member is at an address that only a lie named.
pub(super) fn check(made_up: &BTreeSet<Endpoint>, view: &View) -> Result<(), String> {
    match view.members.iter().find(|member| made_up.contains(&member.endpoint)) {
        Some(member) => Err(format!("{} at {} is a member, and was made up", member.name, member.endpoint)),
        None => Ok(()),
    }
}
