//! Who wants to hear of which events.

use std::collections::HashMap;

/// Subscriptions by the type of event.
#[derive(Debug, Default)]
pub(super) struct Events {
    by_type: HashMap<String, Vec<u64>>,
}

/// The most types one connection subscribes to.
pub(super) const MAX_TYPES: usize = 100;
/// The most connections that hear of one type.
const MAX_SUBSCRIBERS: usize = 1000;

impl Events {
    /// False where there are too many already.
    pub(super) fn subscribe(&mut self, serial: u64, types: Vec<String>) -> bool {
        let mine = self.by_type.values().filter(|serials| serials.contains(&serial)).count();
        if mine + types.len() > MAX_TYPES {
            return false;
        }
        types.into_iter().all(|of| {
            let serials = self.by_type.entry(of).or_default();
            let known = serials.contains(&serial);
            if !known && serials.len() < MAX_SUBSCRIBERS {
                serials.push(serial);
                return true;
            }
            known
        })
    }

    pub(super) fn unsubscribe(&mut self, serial: u64, types: &[String]) {
        self.by_type.retain(|of, serials| {
            serials.retain(|known| *known != serial || !types.contains(of));
            !serials.is_empty()
        });
    }

    pub(super) fn forget(&mut self, serial: u64) {
        self.by_type.retain(|_, serials| {
            serials.retain(|known| *known != serial);
            !serials.is_empty()
        });
    }

    pub(super) fn subscribers(&self, of: &str) -> &[u64] {
        self.by_type.get(of).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_end_with_their_connection_and_are_bounded() {
        let mut events = Events::default();
        let types = |n: usize| (0..n).map(|n| n.to_string()).collect::<Vec<_>>();
        assert!(events.subscribe(1, types(2)) && events.subscribe(2, types(1)));
        assert_eq!(events.subscribers("0"), [1, 2]);
        events.unsubscribe(1, &types(1));
        assert_eq!((events.subscribers("0"), events.subscribers("1")), (&[2][..], &[1][..]));
        events.forget(1);
        assert_eq!(events.by_type.len(), 1);
        assert!(!events.subscribe(3, types(MAX_TYPES + 1)));
    }
}
