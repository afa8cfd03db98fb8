//! Memory of the session table. One reservation for the table's whole capacity: pages are touched
//! only as sessions are opened, addresses never move, and the kernel is asked for huge pages, since
//! a random session costs a TLB miss otherwise.

use super::Slot;

/// Bytes of a cache line.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;

/// A fixed-capacity store with stable slots; freed slots are reused last in, first out, so that a
/// busy table stays warm.
#[derive(Debug)]
pub struct Arena<T> {
    items: Vec<T>,
    free: Vec<u32>,
}

impl<T> Arena<T> {
    /// Reserves room for `capacity` items without touching it.
    #[must_use]
    pub fn with_capacity(capacity: u32) -> Self {
        let items = Vec::with_capacity(capacity as usize);
        advise_huge_pages(items.as_ptr(), capacity as usize);
        Self { items, free: Vec::new() }
    }

    /// Stores `item`; `None` hands back nothing because the arena is full.
    pub fn insert(&mut self, item: T) -> Option<Slot> {
        if let Some(slot) = self.free.pop() {
            self.items[slot as usize] = item;
            return Some(Slot(slot));
        }
        if self.items.len() == self.items.capacity() {
            return None;
        }
        self.items.push(item);
        u32::try_from(self.items.len() - 1).ok().map(Slot)
    }

    /// Gives the slot back. The item stays readable until the slot is reused: callers mark it vacant.
    pub fn release(&mut self, slot: Slot) {
        self.free.push(slot.0);
    }

    /// The item at `slot`.
    #[inline]
    #[must_use]
    pub fn get(&self, slot: Slot) -> Option<&T> {
        self.items.get(slot.0 as usize)
    }

    /// The item at `slot`, to be changed.
    #[inline]
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.items.get_mut(slot.0 as usize)
    }

    /// Slots ever used, free ones too: the range that a sweep walks.
    #[must_use]
    pub fn extent(&self) -> u32 {
        u32::try_from(self.items.len()).unwrap_or(u32::MAX)
    }

    /// Items stored.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len() - self.free.len()
    }

    /// Whether nothing is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the next insertion fails.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.free.is_empty() && self.items.len() == self.items.capacity()
    }
}

/// Items per piece of a [`Store`].
const PIECE: usize = 4_096;

/// A store that grows piece by piece: what few sessions need costs nothing while none does, and growing never
/// moves what is there.
#[derive(Debug)]
pub struct Store<T> {
    pieces: Vec<Box<[T]>>,
    used: u32,
    free: Vec<u32>,
}

impl<T: Copy + Default> Store<T> {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self { pieces: Vec::new(), used: 0, free: Vec::new() }
    }

    /// Stores `item`.
    pub fn insert(&mut self, item: T) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            if self.used as usize == self.pieces.len() * PIECE {
                self.pieces.push(vec![T::default(); PIECE].into_boxed_slice());
            }
            self.used += 1;
            self.used - 1
        });
        self.pieces[slot as usize / PIECE][slot as usize % PIECE] = item;
        Slot(slot)
    }

    /// Gives the slot back.
    pub fn release(&mut self, slot: Slot) {
        self.free.push(slot.0);
    }

    /// The item at `slot`.
    #[inline]
    #[must_use]
    pub fn get(&self, slot: Slot) -> Option<&T> {
        self.pieces.get(slot.0 as usize / PIECE)?.get(slot.0 as usize % PIECE)
    }

    /// The item at `slot`, to be changed.
    #[inline]
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.pieces.get_mut(slot.0 as usize / PIECE)?.get_mut(slot.0 as usize % PIECE)
    }

    /// Items stored.
    #[must_use]
    pub fn len(&self) -> usize {
        self.used as usize - self.free.len()
    }

    /// Whether nothing is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Copy + Default> Default for Store<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Asks for huge pages behind `count` items at `start`; small tables and refusals are no matter.
pub fn advise_huge_pages<T>(start: *const T, count: usize) {
    const HUGE: usize = 2 << 20;
    let first = (start as usize).next_multiple_of(HUGE);
    let end = (start as usize + count * size_of::<T>()) / HUGE * HUGE;
    if end <= first {
        return;
    }
    // SAFETY: `[first, end)` lies within one live allocation, and MADV_HUGEPAGE changes how the kernel
    // backs these pages, never what they hold.
    #[allow(unsafe_code, reason = "madvise has no safe form; the range is inside our own allocation")]
    let advised = unsafe {
        rustix::mm::madvise(std::ptr::without_provenance_mut(first), end - first, rustix::mm::Advice::LinuxHugepage)
    };
    if let Err(error) = advised {
        tracing::debug!(%error, "no huge pages for the session table");
    }
}

/// Asks for the first `lines` cache lines of `item`, without waiting for them.
#[inline]
pub fn prefetch<T>(item: &T, lines: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..lines {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing that the program sees, and faults at no address.
        #[allow(unsafe_code, reason = "the intrinsic takes a pointer; it is a hint")]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(item).cast::<i8>().wrapping_add(line * LINE));
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (item, lines);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_arena_refuses_and_a_released_slot_is_used_again() {
        let mut arena = Arena::with_capacity(2);
        let capacity = arena.items.capacity();
        let slots: Vec<Slot> = (0..capacity).map(|i| arena.insert(i).expect("room")).collect();
        assert!(arena.is_full() && arena.insert(9).is_none());
        arena.release(slots[0]);
        assert_eq!(arena.insert(7), Some(slots[0]));
        assert_eq!(arena.get(slots[0]), Some(&7));
        assert_eq!(arena.len(), capacity);
    }
}
