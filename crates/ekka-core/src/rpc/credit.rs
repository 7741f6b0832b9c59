//! The credit of a stream: how many items may be on their way.

/// The sending side: what it may send, and how far the other side has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Credit {
    window: u64,
    sent: u64,
    handled: u64,
}

/// The peer broke the rules of credit: close the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a stream beyond its credit")]
pub struct Overrun;

impl Credit {
    /// A stream of which `window` items may be on their way; at least one.
    #[must_use]
    pub fn new(window: u32) -> Self {
        Self { window: u64::from(window.max(1)), sent: 0, handled: 0 }
    }

    /// Takes the place of the next item and gives its number (the first is 1); `None` where the other side must
    /// handle some first.
    pub fn take(&mut self) -> Option<u64> {
        if self.sent - self.handled >= self.window {
            return None;
        }
        self.sent += 1;
        Some(self.sent)
    }

    /// The other side has handled `count` items in all.
    ///
    /// # Errors
    /// It says more than was sent, or less than before.
    pub fn handled(&mut self, count: u64) -> Result<(), Overrun> {
        if count > self.sent || count < self.handled {
            return Err(Overrun);
        }
        self.handled = count;
        Ok(())
    }

    /// Items that the other side is known to have handled.
    #[must_use]
    pub fn handled_count(&self) -> u64 {
        self.handled
    }

    /// Items sent.
    #[must_use]
    pub fn sent_count(&self) -> u64 {
        self.sent
    }
}

/// The receiving side: what has come, and what of it was said to be handled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Acknowledged {
    window: u64,
    came: u64,
    handled: u64,
    said: u64,
}

impl Acknowledged {
    /// A stream of which `window` items may be on their way; at least one.
    #[must_use]
    pub fn new(window: u32) -> Self {
        Self { window: u64::from(window.max(1)), came: 0, handled: 0, said: 0 }
    }

    /// An item has come.
    ///
    /// # Errors
    /// The sender had no credit for it.
    pub fn came(&mut self) -> Result<(), Overrun> {
        if self.came - self.said >= self.window {
            return Err(Overrun);
        }
        self.came += 1;
        Ok(())
    }

    /// An item was handled. Gives the count to say now, once half a window has gathered or nothing is left to wait
    /// for: one message for many items where they come fast, and no delay where they do not.
    pub fn handled(&mut self) -> Option<u64> {
        self.handled += 1;
        debug_assert!(self.handled <= self.came);
        let gathered = self.handled - self.said;
        if gathered * 2 >= self.window || self.handled == self.came {
            self.said = self.handled;
            return Some(self.said);
        }
        None
    }

    /// The stream ends: gives the count where some of it was not said yet.
    pub fn rest(&mut self) -> Option<u64> {
        let more = self.handled > self.said;
        self.said = self.handled;
        more.then_some(self.said)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_sender_stops_at_its_window_and_a_receiver_that_lies_is_found_out() {
        let mut credit = Credit::new(2);
        assert_eq!((credit.take(), credit.take(), credit.take()), (Some(1), Some(2), None));
        assert_eq!(credit.handled(3), Err(Overrun), "more than was sent");
        assert_eq!(credit.handled(1), Ok(()));
        assert_eq!(credit.take(), Some(3));
        assert_eq!(credit.handled(0), Err(Overrun), "less than before");
    }

    #[test]
    fn a_sender_without_credit_is_found_out() {
        let mut receiver = Acknowledged::new(1);
        assert_eq!(receiver.came(), Ok(()));
        assert_eq!(receiver.came(), Err(Overrun));
        assert_eq!(receiver.handled(), Some(1));
        assert_eq!(receiver.came(), Ok(()));
        let mut wide = Acknowledged::new(100);
        for _ in 0..2 {
            assert_eq!(wide.came(), Ok(()));
        }
        assert_eq!((wide.handled(), wide.rest(), wide.rest()), (None, Some(1), None));
    }

    proptest! {
        #[test]
        fn a_stream_never_stalls_and_never_overruns(window in 1u32..9, steps in prop::collection::vec(any::<bool>(), 0..300)) {
            let (mut sender, mut receiver) = (Credit::new(window), Acknowledged::new(window));
            let (mut queued, mut said) = (0u64, 0u64);
            for send in steps {
                if send {
                    if sender.take().is_some() {
                        prop_assert_eq!(receiver.came(), Ok(()));
                        queued += 1;
                    } else {
                        prop_assert!(queued > 0, "no credit although everything is handled");
                    }
                } else if queued > 0 {
                    queued -= 1;
                    if let Some(count) = receiver.handled() {
                        said = count;
                        prop_assert_eq!(sender.handled(count), Ok(()));
                    }
                }
                prop_assert!(sender.sent_count() - said <= u64::from(window));
            }
        }
    }
}
