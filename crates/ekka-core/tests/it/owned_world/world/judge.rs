//! What must hold of a replica at any time, and what must be so at rest.

use std::collections::{BTreeMap, BTreeSet};

use ekka_core::id::NodeId;

use super::World;
use crate::owned_world::truth::Rows;
use crate::owned_world::watcher::number;

impl World {
    /// Looks at one node: at its rows, at what it says of others, and through its watcher.
    pub(super) fn watch(&mut self, i: usize) {
        let looked = self.is_sound(i).and_then(|()| {
            let node = &mut self.nodes[i];
            let Some(table) = node.table.as_ref() else { return Ok(()) };
            self.tried.looks += 1;
            self.tried.resyncs += u64::from(node.watcher.look(table, &self.truth)?);
            Ok(())
        });
        if let Err(error) = looked {
            self.violation.get_or_insert(format!("{:?}: {error}", self.nodes[i].id));
        }
    }

    fn is_sound(&self, i: usize) -> Result<(), String> {
        let node = &self.nodes[i];
        let Some(table) = node.table.as_ref() else { return Ok(()) };
        let (mut shown, mut count) = (BTreeSet::new(), 0);
        for (id, is_shown, rows) in table.snapshot() {
            if node.present.get(&id.node_id) != Some(&id) {
                return Err(format!("it has rows of {id:?}, which is not the present start"));
            }
            let story = self.truth.story(id);
            let held: Rows = rows.iter().map(|row| (row.key().to_vec(), number(row.value()))).collect();
            if held != story.rows_at(table.held(id)) {
                return Err(format!("{id:?} never had {held:?} after {} operations", table.held(id)));
            }
            if is_shown == node.hides.contains(&id.node_id) {
                return Err(format!("it shows the rows of {id:?}: {is_shown}"));
            }
            count += rows.len();
            shown.extend(rows.iter().filter(|_| is_shown).map(|row| (row.key().to_vec(), id.node_id)));
        }
        let read: BTreeSet<(Vec<u8>, NodeId)> =
            table.prefix(b"").map(|(node, row)| (row.key().to_vec(), node)).collect();
        let by_key = |(key, node): &(Vec<u8>, NodeId)| table.get(key).any(|(owner, _)| owner == *node);
        if read != shown || !shown.iter().all(by_key) || table.size().0 != count {
            return Err(format!("what is read is {read:?}, and what is there {shown:?}"));
        }
        self.says_nothing_wrong(i)
    }

    /// What it believes of its peers is so.
    fn says_nothing_wrong(&self, i: usize) -> Result<(), String> {
        let Some(table) = self.nodes[i].table.as_ref() else { return Ok(()) };
        for (j, node) in self.nodes.iter().enumerate() {
            let (Some(peer), Some(link)) = (node.table.as_ref(), self.links.get(&(j, i))) else { continue };
            let follows = node.present.get(&table.me().node_id) == Some(&table.me());
            if follows && peer.held(table.me()) < table.acked(node.id) {
                return Err(format!("it believes that {:?} holds {}", node.id, table.acked(node.id)));
            }
            if table.is_abreast_of(node.id) == Some(true) && table.held(node.id) < link.before {
                return Err(format!("it believes that it has all of {:?}, and holds {}", node.id, table.held(node.id)));
            }
        }
        Ok(())
    }

    /// With everything delivered: every member holds what each member wrote, as its owner holds it, and shows it.
    pub(super) fn judge(&self) -> Result<(), String> {
        for (i, node) in self.nodes.iter().enumerate() {
            let Some(table) = node.table.as_ref() else { continue };
            let mut wanted = BTreeMap::new();
            for id in self.members() {
                let story = self.truth.story(id);
                if table.held(id) != story.sequence {
                    return Err(format!("{:?} holds {} of {id:?}", node.id, table.held(id)));
                }
                wanted.extend(story.rows.iter().map(|(key, value)| ((key.clone(), id.node_id), *value)));
                if id == node.id {
                    continue;
                }
                if table.acked(id) != table.sequence() || table.is_abreast_of(id) != Some(true) {
                    return Err(format!("{:?} does not know that it and {id:?} hold all", node.id));
                }
            }
            let has: BTreeMap<_, _> =
                table.prefix(b"").map(|(owner, row)| ((row.key().to_vec(), owner), number(row.value()))).collect();
            if has != wanted {
                return Err(format!("{:?} has {has:?} instead of {wanted:?}", node.id));
            }
            self.is_sound(i)?;
        }
        Ok(())
    }
}
