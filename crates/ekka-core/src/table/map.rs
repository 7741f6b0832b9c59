//! An ordered map whose clone costs nothing: a B+ tree of shared nodes, each copied only when it is changed while shared.
//!
//! Scans, full copies, snapshots of watchers and backups work on a clone while writes go on. Bayer and McCreight (1972);
//! Driscoll, Sarnak, Sleator, Tarjan, *Making Data Structures Persistent* (1989).

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Bound;

/// Entries of a leaf, and children of an inner node.
const WIDTH: usize = 64;
/// A node with fewer is joined to its neighbour where both fit into one.
const SPARSE: usize = WIDTH / 4;

/// What the map holds: entries that know their key.
pub trait Entry: Clone {
    /// The key. It never changes while the entry is in a map.
    fn key(&self) -> &[u8];
}

#[derive(Debug)]
enum Node<E> {
    Leaf(Vec<E>),
    Inner(Inner<E>),
}

#[derive(Debug)]
struct Inner<E> {
    /// `keys[i]` is not above any key below `children[i + 1]`, and above all below `children[i]`.
    keys: Vec<Arc<[u8]>>,
    children: Vec<Arc<Node<E>>>,
}

fn with_room<T: Clone>(items: &[T]) -> Vec<T> {
    let mut copy = Vec::with_capacity(WIDTH + 1);
    copy.extend_from_slice(items);
    copy
}

impl<E: Entry> Clone for Node<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Leaf(entries) => Self::Leaf(with_room(entries)),
            Self::Inner(inner) => {
                Self::Inner(Inner { keys: with_room(&inner.keys), children: with_room(&inner.children) })
            }
        }
    }
}

/// What an update did.
enum Change<E> {
    Inserted,
    Replaced(E),
    Nothing,
}

/// The upper half of a node that was full, and the key at which it begins.
type Split<E> = Option<(Arc<[u8]>, Arc<Node<E>>)>;

impl<E: Entry> Node<E> {
    fn len(&self) -> usize {
        match self {
            Self::Leaf(entries) => entries.len(),
            Self::Inner(inner) => inner.children.len(),
        }
    }

    fn last(&self) -> Option<&E> {
        match self {
            Self::Leaf(entries) => entries.last(),
            // An empty leaf may stand beside one that is too full to be joined to it.
            Self::Inner(inner) => inner.children.iter().rev().find_map(|child| child.last()),
        }
    }

    /// What `make` gives for the entry that is there, or is not, takes its place.
    fn update<F>(self: &mut Arc<Self>, key: &[u8], make: F, last: bool) -> (Change<E>, Split<E>)
    where
        F: FnOnce(Option<&E>) -> Option<E>,
    {
        match Arc::make_mut(self) {
            Self::Leaf(entries) => match entries.binary_search_by(|held| held.key().cmp(key)) {
                Ok(at) => match make(Some(&entries[at])) {
                    Some(entry) => (Change::Replaced(core::mem::replace(&mut entries[at], entry)), None),
                    None => (Change::Nothing, None),
                },
                Err(at) => match make(None) {
                    Some(entry) => {
                        let append = last && at == entries.len();
                        entries.reserve(WIDTH + 1 - entries.len());
                        entries.insert(at, entry);
                        (Change::Inserted, split_leaf(entries, append))
                    }
                    None => (Change::Nothing, None),
                },
            },
            Self::Inner(inner) => {
                let at = inner.child(key);
                let last = last && at + 1 == inner.children.len();
                let (change, split) = inner.children[at].update(key, make, last);
                if let Some((key, right)) = split {
                    inner.keys.insert(at, key);
                    inner.children.insert(at + 1, right);
                }
                (change, inner.split(last))
            }
        }
    }

    fn remove(self: &mut Arc<Self>, key: &[u8]) -> Option<E> {
        match Arc::make_mut(self) {
            Self::Leaf(entries) => {
                let at = entries.binary_search_by(|held| held.key().cmp(key)).ok()?;
                Some(entries.remove(at))
            }
            Self::Inner(inner) => {
                let at = inner.child(key);
                let old = inner.children[at].remove(key)?;
                inner.join(at);
                Some(old)
            }
        }
    }
}

/// Cuts a leaf that is too long. Where rows come in the order of their keys the left one stays full.
fn split_leaf<E: Entry>(entries: &mut Vec<E>, append: bool) -> Split<E> {
    if entries.len() <= WIDTH {
        return None;
    }
    let at = if append { WIDTH } else { entries.len() / 2 };
    let right = with_room(&entries[at..]);
    entries.truncate(at);
    Some((Arc::from(right[0].key()), Arc::new(Node::Leaf(right))))
}

impl<E: Entry> Inner<E> {
    /// The child below which a key is.
    fn child(&self, key: &[u8]) -> usize {
        self.keys.partition_point(|from| &**from <= key)
    }

    fn split(&mut self, append: bool) -> Split<E> {
        if self.children.len() <= WIDTH {
            return None;
        }
        let at = if append { WIDTH } else { self.children.len() / 2 };
        let right = Self { keys: with_room(&self.keys[at..]), children: with_room(&self.children[at..]) };
        self.children.truncate(at);
        self.keys.truncate(at);
        let key = self.keys.pop().expect("a full node has keys");
        Some((key, Arc::new(Node::Inner(right))))
    }

    /// Joins the child at a place to a neighbour where it has become sparse.
    fn join(&mut self, at: usize) {
        if self.children[at].len() >= SPARSE || self.children.len() == 1 {
            return;
        }
        let left = at.saturating_sub(1);
        if self.children[left].len() + self.children[left + 1].len() > WIDTH {
            return;
        }
        let right = self.children.remove(left + 1);
        let key = self.keys.remove(left);
        match (Arc::make_mut(&mut self.children[left]), &*right) {
            (Node::Leaf(entries), Node::Leaf(more)) => entries.extend_from_slice(more),
            (Node::Inner(inner), Node::Inner(more)) => {
                inner.keys.push(key);
                inner.keys.extend_from_slice(&more.keys);
                inner.children.extend_from_slice(&more.children);
            }
            (Node::Leaf(_), Node::Inner(_)) | (Node::Inner(_), Node::Leaf(_)) => {
                unreachable!("all leaves have one depth")
            }
        }
    }
}

/// An ordered map from the keys of entries to entries.
#[derive(Clone, Debug)]
pub struct Map<E> {
    root: Arc<Node<E>>,
    len: usize,
}

impl<E: Entry> Default for Map<E> {
    fn default() -> Self {
        Self { root: Arc::new(Node::Leaf(Vec::new())), len: 0 }
    }
}

impl<E: Entry> Map<E> {
    /// Puts an entry in; the one that had its key comes out.
    pub fn insert(&mut self, entry: E) -> Option<E> {
        let held = entry.clone();
        self.update(held.key(), |_| Some(entry))
    }

    /// Puts in what `make` gives for the entry that is there; what was replaced comes out.
    ///
    /// What `make` gives must have this very key.
    pub fn update(&mut self, key: &[u8], make: impl FnOnce(Option<&E>) -> Option<E>) -> Option<E> {
        let (change, split) = self.root.update(key, make, true);
        if let Some((key, right)) = split {
            let left = core::mem::replace(&mut self.root, Arc::clone(&right));
            let (mut keys, mut children) = (Vec::with_capacity(WIDTH + 1), Vec::with_capacity(WIDTH + 1));
            keys.push(key);
            children.extend([left, right]);
            self.root = Arc::new(Node::Inner(Inner { keys, children }));
        }
        match change {
            Change::Replaced(old) => Some(old),
            Change::Inserted => {
                self.len += 1;
                None
            }
            Change::Nothing => None,
        }
    }

    /// Takes the entry of a key out.
    pub fn remove(&mut self, key: &[u8]) -> Option<E> {
        // Nodes are copied on the way down, so it is found out first whether there is anything to take out.
        self.get(key)?;
        let old = self.root.remove(key)?;
        self.len -= 1;
        if let Node::Inner(inner) = &*self.root
            && inner.children.len() == 1
        {
            self.root = Arc::clone(&inner.children[0]);
        }
        Some(old)
    }

    /// The entry of a key.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&E> {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Inner(inner) => node = &*inner.children[inner.child(key)],
                Node::Leaf(entries) => {
                    let at = entries.binary_search_by(|held| held.key().cmp(key)).ok()?;
                    return Some(&entries[at]);
                }
            }
        }
    }

    /// The entry with the highest key.
    #[must_use]
    pub fn last(&self) -> Option<&E> {
        self.root.last()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All entries in the order of their keys.
    pub fn iter(&self) -> Iter<'_, E> {
        self.from(Bound::Unbounded)
    }

    /// The entries from a key on.
    pub fn from(&self, start: Bound<&[u8]>) -> Iter<'_, E> {
        let mut stack = Vec::new();
        let mut node = &*self.root;
        loop {
            match (node, start) {
                (Node::Inner(inner), Bound::Unbounded) => {
                    stack.push((node, 1));
                    node = &*inner.children[0];
                }
                (Node::Inner(inner), Bound::Included(key) | Bound::Excluded(key)) => {
                    let at = inner.child(key);
                    stack.push((node, at + 1));
                    node = &*inner.children[at];
                }
                (Node::Leaf(entries), start) => {
                    let at = match start {
                        Bound::Unbounded => 0,
                        Bound::Included(key) => entries.partition_point(|held| held.key() < key),
                        Bound::Excluded(key) => entries.partition_point(|held| held.key() <= key),
                    };
                    stack.push((node, at));
                    return Iter { stack };
                }
            }
        }
    }
}

impl<E: Entry> Map<E> {
    /// The entries up to a key, the last one first.
    pub fn back_from(&self, end: Bound<&[u8]>) -> Back<'_, E> {
        let mut stack = Vec::new();
        let mut node = &*self.root;
        loop {
            match node {
                Node::Inner(inner) => {
                    let at = match end {
                        Bound::Unbounded => inner.children.len() - 1,
                        Bound::Included(key) | Bound::Excluded(key) => inner.child(key),
                    };
                    stack.push((node, at));
                    node = &*inner.children[at];
                }
                Node::Leaf(entries) => {
                    let at = match end {
                        Bound::Unbounded => entries.len(),
                        Bound::Included(key) => entries.partition_point(|held| held.key() <= key),
                        Bound::Excluded(key) => entries.partition_point(|held| held.key() < key),
                    };
                    stack.push((node, at));
                    return Back { stack };
                }
            }
        }
    }
}

/// Entries in the order of their keys, the last one first.
#[derive(Debug)]
pub struct Back<'a, E> {
    /// From the root down: a node, and how many places of it are left.
    stack: Vec<(&'a Node<E>, usize)>,
}

impl<'a, E: Entry> Iterator for Back<'a, E> {
    type Item = &'a E;

    fn next(&mut self) -> Option<&'a E> {
        loop {
            let (node, left) = self.stack.last_mut()?;
            let Some(at) = left.checked_sub(1) else {
                self.stack.pop();
                continue;
            };
            *left = at;
            match *node {
                Node::Leaf(entries) => return entries.get(at),
                Node::Inner(inner) => {
                    let child = &*inner.children[at];
                    self.stack.push((child, child.len()));
                }
            }
        }
    }
}

/// Entries in the order of their keys.
#[derive(Debug)]
pub struct Iter<'a, E> {
    /// From the root down: a node, and the place in it that comes next.
    stack: Vec<(&'a Node<E>, usize)>,
}

impl<'a, E> Iterator for Iter<'a, E> {
    type Item = &'a E;

    fn next(&mut self) -> Option<&'a E> {
        loop {
            let (node, at) = self.stack.last_mut()?;
            match *node {
                Node::Leaf(entries) => {
                    if let Some(entry) = entries.get(*at) {
                        *at += 1;
                        return Some(entry);
                    }
                    self.stack.pop();
                }
                Node::Inner(inner) => {
                    if let Some(child) = inner.children.get(*at) {
                        *at += 1;
                        self.stack.push((child, 0));
                    } else {
                        self.stack.pop();
                    }
                }
            }
        }
    }
}

impl<'a, E: Entry> IntoIterator for &'a Map<E> {
    type Item = &'a E;
    type IntoIter = Iter<'a, E>;

    fn into_iter(self) -> Iter<'a, E> {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Pair([u8; 2], u32);

    impl Entry for Pair {
        fn key(&self) -> &[u8] {
            &self.0
        }
    }

    fn same(map: &Map<Pair>, model: &BTreeMap<[u8; 2], u32>) {
        assert_eq!(map.len(), model.len());
        assert!(map.iter().map(|pair| (&pair.0, &pair.1)).eq(model.iter()));
    }

    proptest! {
        #[test]
        fn it_does_what_a_map_does_and_a_clone_stays_as_it_was(
            steps in prop::collection::vec((any::<u16>(), 0u8..8), 0..3_000),
            key in any::<u16>(),
        ) {
            let (mut map, mut model) = (Map::default(), BTreeMap::new());
            let mut clones = Vec::new();
            for (i, (key, kind)) in (0u32..).zip(steps) {
                // Few keys, so that there is also something to remove.
                let key = (key & 0x0fff).to_be_bytes();
                match kind {
                    0 => prop_assert_eq!(map.remove(&key).map(|pair: Pair| pair.1), model.remove(&key)),
                    1 if i % 97 == 0 => clones.push((map.clone(), model.clone())),
                    _ => prop_assert_eq!(map.insert(Pair(key, i)).map(|pair| pair.1), model.insert(key, i)),
                }
            }
            same(&map, &model);
            for (map, model) in &clones {
                same(map, model);
            }
            let key = key.to_be_bytes();
            prop_assert_eq!(map.get(&key).map(|pair| pair.1), model.get(&key).copied());
            let after: Vec<u32> = map.from(Bound::Excluded(&key)).map(|pair| pair.1).collect();
            let expected: Vec<u32> = model.range((Bound::Excluded(key), Bound::Unbounded)).map(|(_, n)| *n).collect();
            prop_assert_eq!(after, expected);
            for end in [Bound::Excluded(key), Bound::Included(key), Bound::Unbounded] {
                let bytes = match &end {
                    Bound::Excluded(key) => Bound::Excluded(&key[..]),
                    Bound::Included(key) => Bound::Included(&key[..]),
                    Bound::Unbounded => Bound::Unbounded,
                };
                let back: Vec<u32> = map.back_from(bytes).map(|pair| pair.1).collect();
                let expected: Vec<u32> = model.range((Bound::Unbounded, end)).rev().map(|(_, n)| *n).collect();
                prop_assert_eq!(back, expected);
            }
            let all: Vec<[u8; 2]> = model.keys().copied().collect();
            for key in all {
                prop_assert!(map.remove(&key).is_some());
            }
            prop_assert!(map.is_empty() && map.iter().next().is_none());
        }
    }

    fn leaves<E>(node: &Node<E>) -> usize {
        match node {
            Node::Leaf(_) => 1,
            Node::Inner(inner) => inner.children.iter().map(|child| leaves(child)).sum(),
        }
    }

    #[test]
    fn rows_in_the_order_of_their_keys_fill_the_leaves() {
        let mut map = Map::default();
        for n in 0..10_000u16 {
            map.insert(Pair(n.to_be_bytes(), 0));
        }
        assert_eq!(leaves(&map.root), 10_000usize.div_ceil(WIDTH));
    }
}
