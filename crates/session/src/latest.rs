//! The order of what one end says of something that changes, and says again on other tunnels: what was held up on one
//! must not be believed after what came by another.

/// The number of what was said last, or heard last, of one thing.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Latest(u32);

impl Latest {
    /// Numbers a change that is now to be said.
    pub(crate) fn count_up(&mut self) -> u32 {
        self.0 = self.0.saturating_add(1);
        self.0
    }

    /// The number of the last change that was said; none if nothing was.
    pub(crate) fn said(self) -> Option<u32> {
        (self.0 > 0).then_some(self.0)
    }

    /// Something of this number is heard: whether nothing later has been. The same is heard again on each tunnel.
    pub(crate) fn hear(&mut self, number: u32) -> bool {
        let counts = number >= self.0;
        self.0 = self.0.max(number);
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_heard_late_does_not_count_and_what_is_said_again_does() {
        let (mut here, mut there) = (Latest::default(), Latest::default());
        assert_eq!(here.said(), None);
        let (first, second) = (here.count_up(), here.count_up());
        assert_eq!(here.said(), Some(second));
        assert!(there.hear(second) && !there.hear(first) && there.hear(second));
        assert!(there.hear(u32::MAX));
        assert_eq!(there.count_up(), u32::MAX);
    }
}
