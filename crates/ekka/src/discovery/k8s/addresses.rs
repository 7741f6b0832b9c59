//! The addresses behind a Service, as EndpointSlices or Endpoints give them, in one form.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::objects::{EndpointSlice, Endpoints, NAME_MAX, SliceEndpoint, SubsetAddress, Target};

/// Addresses of one answer that are kept; four times what one answer may name as candidates.
pub(super) const ADDRESSES_MAX: usize = 4 * ekka_core::limits::CANDIDATES_MAX;

/// One address of one pod.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Address {
    /// As the object has it.
    pub(super) text: String,
    pub(super) kind: Kind,
    pub(super) hostname: Option<String>,
    /// Name and uid of the pod, where the object names one.
    pub(super) pod: Option<(String, String)>,
    pub(super) ready: bool,
}

/// What an address is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// IPv4 or IPv6
    Ip(IpAddr),
    /// A full name in DNS.
    Fqdn,
    /// Neither, though the object says so.
    Bad,
}

/// The addresses of all objects, each object's together, so that one object can be replaced.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct AddressSet {
    objects: BTreeMap<String, Vec<Address>>,
    /// How many addresses of which object found no room.
    over: BTreeMap<String, usize>,
}

impl AddressSet {
    /// Takes an object in place of what it was before.
    pub(super) fn put(&mut self, object: &str, mut addresses: Vec<Address>) {
        self.remove(object);
        let room = ADDRESSES_MAX.saturating_sub(self.objects.values().map(|list| list.len().max(1)).sum());
        let over = addresses.len().saturating_sub(room);
        if over > 0 && self.over.len() < ADDRESSES_MAX {
            self.over.insert(object.to_owned(), over);
        }
        addresses.truncate(room);
        if room > 0 {
            self.objects.insert(object.to_owned(), addresses);
        }
    }

    /// An object is gone.
    pub(super) fn remove(&mut self, object: &str) {
        self.objects.remove(object);
        self.over.remove(object);
    }

    /// All addresses, in the order of their objects' names.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Address> {
        self.objects.values().flatten()
    }

    /// How many addresses of the objects as they are now found no room.
    pub(super) fn dropped(&self) -> usize {
        self.over.values().fold(0, |sum, over| sum.saturating_add(*over))
    }
}

/// The addresses of a slice. Those of one endpoint mean the same; the first counts.
pub(super) fn of_slice(slice: EndpointSlice) -> Vec<Address> {
    let kind = slice.address_type;
    let one = |endpoint: SliceEndpoint| {
        let ready = endpoint.conditions.ready.unwrap_or(true);
        let text = endpoint.addresses.into_iter().next()?;
        Some(address(text, &kind, endpoint.hostname, endpoint.target_ref, ready))
    };
    slice.endpoints.into_iter().filter_map(one).take(ADDRESSES_MAX).collect()
}

/// The addresses of an Endpoints object, ready or not.
pub(super) fn of_endpoints(endpoints: Endpoints) -> Vec<Address> {
    let one = |ready: bool| move |a: SubsetAddress| address(a.ip, "", a.hostname, a.target_ref, ready);
    let subsets = endpoints.subsets.into_iter();
    let all = subsets.flat_map(|subset| {
        let ready = subset.addresses.into_iter().map(one(true));
        ready.chain(subset.not_ready_addresses.into_iter().map(one(false)))
    });
    all.take(ADDRESSES_MAX).collect()
}

fn address(text: String, kind: &str, hostname: Option<String>, target: Option<Target>, ready: bool) -> Address {
    let kind = match text.parse() {
        Ok(ip) => Kind::Ip(ip),
        Err(_) if kind == "FQDN" && text.len() <= NAME_MAX => Kind::Fqdn,
        Err(_) => Kind::Bad,
    };
    let pod = target.filter(|target| !target.name.is_empty()).map(|target| (cut(target.name), cut(target.uid)));
    Address { text: cut(text), kind, hostname: hostname.map(cut), pod, ready }
}

/// What is kept of a text: no name in Kubernetes is longer, and a server could send any.
fn cut(text: String) -> String {
    // A new text, since one that is made shorter keeps its place in memory.
    if text.len() > NAME_MAX { text[..text.floor_char_boundary(NAME_MAX)].to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(count: usize) -> Vec<Address> {
        (0..count).map(|n| address(format!("10.0.{}.{}", n / 250, n % 250), "IPv4", None, None, true)).collect()
    }

    #[test]
    fn texts_are_kept_only_as_far_as_a_name_can_be_long() {
        let long = || "\u{e4}".repeat(1_000_000);
        let target = Target { name: long(), uid: long() };
        let it = address(long(), "FQDN", Some(long()), Some(target), true);
        assert_eq!(it.kind, Kind::Bad);
        let (pod, uid) = it.pod.expect("a pod");
        for text in [it.text, it.hostname.expect("a name"), pod, uid] {
            assert!(text.len() == NAME_MAX - 1 && text.capacity() <= 2 * NAME_MAX, "{}", text.capacity());
        }
        let name = format!("{}.example", "x".repeat(245));
        assert_eq!(name.len(), NAME_MAX);
        let it = address(name.clone(), "FQDN", None, None, true);
        assert_eq!((it.text, it.kind), (name, Kind::Fqdn));
    }

    #[test]
    fn only_what_is_there_now_is_counted_as_dropped() {
        let mut set = AddressSet::default();
        set.put("a", some(ADDRESSES_MAX));
        for _ in 0..3 {
            set.put("b", some(7));
            assert_eq!(set.dropped(), 7, "not once more for each event");
        }
        set.put("b", some(2));
        assert_eq!(set.dropped(), 2);
        set.remove("b");
        assert_eq!(set.dropped(), 0);
        set.put("b", some(7));
        set.put("a", some(1));
        set.put("b", some(7));
        assert_eq!((set.dropped(), set.iter().count()), (0, 8), "there is room again");
    }
}
