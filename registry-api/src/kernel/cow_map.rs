//! An ordered map whose clone is one reference count.
//!
//! A B+ tree of shared nodes: a write copies the nodes on its path only while
//! somebody else holds them. Writers publish a clone and go on; readers keep
//! theirs as long as they like. Nodes are never rebalanced between siblings,
//! only merged when small, which bounds the height as well and is half the code.

use std::borrow::Borrow;
use std::fmt::{self, Debug};
use std::slice;
use std::sync::Arc;

/// Entries per node: a copied path costs a few kilobytes, a million entries are
/// four levels.
const WIDTH: usize = 32;

/// An ordered map whose clone is one reference count; writes copy shared paths.
pub struct CowMap<K, V> {
    root: Arc<Node<K, V>>,
    len: usize,
}

#[derive(Clone)]
enum Node<K, V> {
    Leaf(Items<K, V>),
    /// Children with a lower bound of their keys; the first bound is not looked at.
    Inner(Items<K, Arc<Self>>),
}

type Items<K, T> = Vec<(K, T)>;

type Child<K, V> = (K, Arc<Node<K, V>>);

/// A node that became too wide, cut in two: the right half and its lower bound.
type Split<K, V> = Option<Child<K, V>>;

impl<K, V> CowMap<K, V> {
    /// An empty map.
    pub fn new() -> Self {
        Self { root: Arc::new(Node::Leaf(Vec::new())), len: 0 }
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All entries in order.
    pub fn iter(&self) -> Iter<'_, K, V> {
        let mut iter = Iter { above: Vec::new(), leaf: [].iter() };
        iter.descend(&self.root);
        iter
    }

    /// The first entry.
    pub fn first(&self) -> Option<(&K, &V)> {
        self.iter().next()
    }
}

impl<K: Ord, V> CowMap<K, V> {
    /// The value of `key`.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Inner(children) => node = &children[child_of(children, key)].1,
                Node::Leaf(entries) => {
                    let place = entries.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
                    return Some(&entries[place].1);
                }
            }
        }
    }

    /// Whether `key` has a value.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// The entries from `key` on, in order.
    pub fn iter_from<Q: Ord + ?Sized>(&self, key: &Q) -> Iter<'_, K, V>
    where
        K: Borrow<Q>,
    {
        let mut above = Vec::new();
        let mut node = &*self.root;
        loop {
            match node {
                Node::Inner(children) => {
                    let place = child_of(children, key);
                    above.push(children[place + 1..].iter());
                    node = &children[place].1;
                }
                Node::Leaf(entries) => {
                    let start = entries.partition_point(|(k, _)| k.borrow() < key);
                    let leaf = entries[start..].iter();
                    return Iter { above, leaf };
                }
            }
        }
    }
}

impl<K: Ord + Clone, V: Clone> CowMap<K, V> {
    /// The value of `key`, to be changed in place.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        if !self.contains_key(key) {
            return None; // Nothing is copied for a key that is not there.
        }
        let mut node = Arc::make_mut(&mut self.root);
        loop {
            match node {
                Node::Inner(children) => {
                    let place = child_of(children, key);
                    node = Arc::make_mut(&mut children[place].1);
                }
                Node::Leaf(entries) => {
                    let place = entries.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
                    return Some(&mut entries[place].1);
                }
            }
        }
    }

    /// Sets the value of `key` and returns the one it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let (old, split) = Arc::make_mut(&mut self.root).insert(key, value);
        if let Some(right) = split {
            let left = Arc::clone(&self.root);
            let bound = right.0.clone();
            self.root = Arc::new(Node::Inner(vec![(bound, left), right]));
        }
        self.len += usize::from(old.is_none());
        old
    }

    /// Removes `key` and returns its value.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        if !self.contains_key(key) {
            return None; // Nothing is copied for a key that is not there.
        }
        let old = Arc::make_mut(&mut self.root).remove(key);
        while let Node::Inner(children) = &*self.root
            && children.len() == 1
        {
            self.root = Arc::clone(&children[0].1);
        }
        self.len -= 1;
        old
    }
}

impl<K: Ord + Clone, V: Clone> Node<K, V> {
    fn insert(&mut self, key: K, value: V) -> (Option<V>, Split<K, V>) {
        match self {
            Self::Leaf(entries) => match entries.binary_search_by(|(k, _)| k.cmp(&key)) {
                Ok(place) => (Some(std::mem::replace(&mut entries[place].1, value)), None),
                Err(place) => {
                    entries.insert(place, (key, value));
                    (None, split(entries, place, Self::Leaf))
                }
            },
            Self::Inner(children) => {
                let place = child_of(children, &key);
                let (old, grown) = Arc::make_mut(&mut children[place].1).insert(key, value);
                let Some(right) = grown else {
                    return (old, None);
                };
                children.insert(place + 1, right);
                (old, split(children, place + 1, Self::Inner))
            }
        }
    }

    fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Leaf(entries) => {
                let place = entries.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
                Some(entries.remove(place).1)
            }
            Self::Inner(children) => {
                let place = child_of(children, key);
                let old = Arc::make_mut(&mut children[place].1).remove(key);
                match children[place].1.width() {
                    0 => drop(children.remove(place)),
                    width if width < WIDTH / 4 => merge_near(children, place),
                    _ => {}
                }
                old
            }
        }
    }

    fn width(&self) -> usize {
        match self {
            Self::Leaf(entries) => entries.len(),
            Self::Inner(children) => children.len(),
        }
    }
}

/// The child whose range holds `key`.
fn child_of<K: Borrow<Q>, V, Q: Ord + ?Sized>(children: &[Child<K, V>], key: &Q) -> usize {
    children[1..].partition_point(|(bound, _)| bound.borrow() <= key)
}

/// Cuts `items` in two if they are too many. An append cuts off only the new
/// item, so that keys that come in order leave full nodes behind.
fn split<K: Clone, V, T>(
    items: &mut Items<K, T>,
    inserted: usize,
    node: fn(Items<K, T>) -> Node<K, V>,
) -> Split<K, V> {
    if items.len() <= WIDTH {
        return None;
    }
    let append = inserted + 1 == items.len();
    let right = items.split_off(if append { WIDTH } else { WIDTH / 2 });
    Some((right[0].0.clone(), Arc::new(node(right))))
}

/// Merges the small child at `place` with a neighbour if both fit into one node.
fn merge_near<K: Ord + Clone, V: Clone>(children: &mut Items<K, Arc<Node<K, V>>>, place: usize) {
    let left = place.saturating_sub(1);
    let Some((_, right)) = children.get(left + 1) else {
        return;
    };
    if children[left].1.width() + right.width() > WIDTH / 2 {
        return;
    }
    let (bound, right) = children.remove(left + 1);
    match (Arc::make_mut(&mut children[left].1), Arc::unwrap_or_clone(right)) {
        (Node::Leaf(left), Node::Leaf(right)) => left.extend(right),
        (Node::Inner(left), Node::Inner(mut right)) => {
            // The first bound was never looked at, so it may be too high.
            right[0].0 = bound;
            left.extend(right);
        }
        (Node::Leaf(_), Node::Inner(_)) | (Node::Inner(_), Node::Leaf(_)) => {
            unreachable!("all leaves are equally deep")
        }
    }
}

/// The entries of a [`CowMap`] in order.
pub struct Iter<'a, K, V> {
    above: Vec<slice::Iter<'a, Child<K, V>>>,
    leaf: slice::Iter<'a, (K, V)>,
}

impl<'a, K, V> Iter<'a, K, V> {
    fn descend(&mut self, mut node: &'a Node<K, V>) {
        loop {
            match node {
                Node::Leaf(entries) => {
                    self.leaf = entries.iter();
                    return;
                }
                Node::Inner(children) => {
                    self.above.push(children[1..].iter());
                    node = &children[0].1;
                }
            }
        }
    }
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, value)) = self.leaf.next() {
                return Some((key, value));
            }
            match self.above.last_mut()?.next() {
                Some((_, child)) => self.descend(child),
                None => drop(self.above.pop()),
            }
        }
    }
}

impl<K, V> Clone for CowMap<K, V> {
    fn clone(&self) -> Self {
        Self { root: Arc::clone(&self.root), len: self.len }
    }
}

impl<K, V> Default for CowMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Debug, V: Debug> Debug for CowMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K, V> Debug for Iter<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Iter")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_btree_map_and_clones_stay_as_they_were(
            ops in prop::collection::vec((any::<bool>(), 0_u16..600, any::<u8>()), 0..3000),
            from in 0_u16..600,
        ) {
            let mut map = CowMap::new();
            let mut model = BTreeMap::new();
            let mut kept: Option<(CowMap<u16, u8>, BTreeMap<u16, u8>)> = None;
            for (place, (insert, key, value)) in ops.into_iter().enumerate() {
                if place % 250 == 0 {
                    kept = Some((map.clone(), model.clone()));
                }
                if insert {
                    prop_assert_eq!(map.insert(key, value), model.insert(key, value));
                } else {
                    prop_assert_eq!(map.remove(&key), model.remove(&key));
                }
                prop_assert_eq!(map.get(&key), model.get(&key));
                prop_assert_eq!(map.len(), model.len());
            }
            prop_assert!(map.iter().eq(model.iter()));
            prop_assert!(map.iter_from(&from).eq(model.range(from..)));
            if let Some((map, model)) = kept {
                prop_assert!(map.iter().eq(model.iter()));
            }
        }

        #[test]
        fn draining_in_any_order_empties_it(keys in prop::collection::hash_set(any::<u32>(), 0..2000)) {
            let mut map: CowMap<u32, ()> = CowMap::new();
            for key in &keys {
                map.insert(*key, ());
            }
            for key in &keys {
                prop_assert!(map.remove(key).is_some());
            }
            prop_assert!(map.is_empty() && map.first().is_none());
        }
    }

    #[test]
    fn keys_in_order_leave_full_nodes() {
        let mut map = CowMap::new();
        for key in 0..(WIDTH * 10) {
            map.insert(key, ());
        }
        let Node::Inner(children) = &*map.root else {
            panic!("{} keys fit into no leaf", map.len());
        };
        assert_eq!(children.len(), 10);
    }
}
