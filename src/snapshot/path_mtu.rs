//! How much the way behind each attachment carries, as the host last saw it: the one thing here that changes
//! without a new snapshot, because links and routes change without the control plane.

use std::sync::atomic::{AtomicU16, Ordering};

use super::AttachmentId;

/// One path MTU per attachment: the least of the links towards its clients and backends, bytes.
#[derive(Debug, Default)]
pub struct PathMtus(Box<[AtomicU16]>);

impl PathMtus {
    /// For `attachments` attachments, none of which limits anything yet.
    #[must_use]
    pub fn new(attachments: usize) -> Self {
        Self((0..attachments).map(|_| AtomicU16::new(u16::MAX)).collect())
    }

    /// The path MTU behind `attachment`; `u16::MAX` while nothing is known.
    #[inline]
    #[must_use]
    pub fn get(&self, attachment: AttachmentId) -> u16 {
        self.0.get(usize::from(attachment.0)).map_or(u16::MAX, |mtu| mtu.load(Ordering::Relaxed))
    }

    /// Notes what the host found; 0 says that nothing is known.
    pub fn set(&self, attachment: AttachmentId, mtu: u16) {
        if let Some(own) = self.0.get(usize::from(attachment.0)) {
            own.store(if mtu == 0 { u16::MAX } else { mtu }, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_limits_nothing() {
        let mtus = PathMtus::new(1);
        mtus.set(AttachmentId(0), 1_400);
        mtus.set(AttachmentId(7), 1_400);
        assert_eq!((mtus.get(AttachmentId(0)), mtus.get(AttachmentId(7))), (1_400, u16::MAX));
        mtus.set(AttachmentId(0), 0);
        assert_eq!(mtus.get(AttachmentId(0)), u16::MAX);
    }
}
