//! A node's samples in the order of a feature's values, and divided in two.

use crate::fit::matrix::Entry;

/// Up to as many samples are sorted by counting, for each, those that come before it. That is quadratic and has
/// no branch; in vectors it is the fastest up to here.
const FEW: usize = 64;

/// A sample's place among few, in bits.
const PLACE_BITS: u32 = FEW.trailing_zeros();

/// A counting sort's digits have up to so many bits.
const MOST_BITS: u32 = 8;

/// Memory to sort in.
#[derive(Default)]
pub(super) struct Sorting {
    sorted: Vec<Entry>,
    other: Vec<Entry>,
}

impl Sorting {
    /// A node's samples by rank, equal ones in the order in which they come; `ranks` are those of all samples, below
    /// `distinct`.
    #[inline(always)]
    pub(super) fn sort(&mut self, samples: &[u32], ranks: &[u32], distinct: usize) -> &[Entry] {
        let count = samples.len();
        if self.sorted.len() < count {
            self.sorted.resize(count, Entry::default());
            self.other.resize(count, Entry::default());
        }
        let (sorted, other) = (&mut self.sorted[..count], &mut self.other[..count]);
        if count <= FEW && distinct < 1 << (31 - PLACE_BITS) {
            sort_few(samples, ranks, sorted);
        } else {
            let bits = u32::BITS - u32::try_from(distinct).unwrap_or(u32::MAX).leading_zeros();
            let swap = match bits.div_ceil(MOST_BITS) {
                0 | 1 => sort_many::<1>(samples, ranks, bits, sorted, other),
                2 => sort_many::<2>(samples, ranks, bits, sorted, other),
                3 => sort_many::<3>(samples, ranks, bits, sorted, other),
                _ => sort_many::<4>(samples, ranks, bits, sorted, other),
            };
            if swap {
                std::mem::swap(&mut self.sorted, &mut self.other);
            }
        }
        &self.sorted[..count]
    }
}

#[inline(always)]
fn sort_few(samples: &[u32], ranks: &[u32], sorted: &mut [Entry]) {
    const LANES: usize = 8;
    // With its place in the lower bits, every key is another one.
    let mut keys = [i32::MAX; FEW];
    for (place, (key, sample)) in (0..).zip(keys.iter_mut().zip(samples)) {
        *key = (rank_of(ranks, *sample) << PLACE_BITS) as i32 | place;
    }
    let known = &keys[..samples.len().min(FEW)];
    let mut before = [0_i32; FEW];
    let blocks = before.as_chunks_mut::<LANES>().0.iter_mut().zip(keys.as_chunks::<LANES>().0);
    for (before, keys) in blocks.take(known.len().div_ceil(LANES)) {
        let mut counts = [0_i32; LANES];
        for other in known {
            for (count, key) in counts.iter_mut().zip(keys) {
                *count += i32::from(other < key);
            }
        }
        *before = counts;
    }
    for ((key, before), sample) in known.iter().zip(before).zip(samples) {
        if let Some(slot) = sorted.get_mut(before as usize) {
            *slot = Entry::new((*key >> PLACE_BITS) as u32, *sample);
        }
    }
}

/// Counting sorts of a few bits each, from the lowest on. Says whether `other` has the result.
#[inline(always)]
fn sort_many<const PASSES: usize>(
    samples: &[u32],
    ranks: &[u32],
    bits: u32,
    sorted: &mut [Entry],
    other: &mut [Entry],
) -> bool {
    let bits_a_pass = bits.div_ceil(PASSES as u32);
    let mask = (1 << bits_a_pass) - 1;
    let digit = |rank: u32, pass: usize| (rank >> (pass as u32 * bits_a_pass)) as usize & mask;
    let mut places = [[0_u32; 1 << MOST_BITS]; PASSES];
    for (slot, sample) in sorted.iter_mut().zip(samples) {
        let rank = rank_of(ranks, *sample);
        *slot = Entry::new(rank, *sample);
        for (pass, places) in places.iter_mut().enumerate() {
            places[digit(rank, pass) % (1 << MOST_BITS)] += 1;
        }
    }
    let (mut from, mut to) = (sorted, other);
    for (pass, places) in places.iter_mut().enumerate() {
        let mut next = 0;
        for place in &mut places[..1 << bits_a_pass] {
            next += std::mem::replace(place, next);
        }
        for entry in &*from {
            let place = &mut places[digit(entry.rank(), pass) % (1 << MOST_BITS)];
            if let Some(slot) = to.get_mut(*place as usize) {
                *slot = *entry;
            }
            *place += 1;
        }
        std::mem::swap(&mut from, &mut to);
    }
    PASSES % 2 == 1
}

#[inline(always)]
fn rank_of(ranks: &[u32], sample: u32) -> u32 {
    ranks.get(sample as usize).copied().unwrap_or_default()
}

/// Notes which samples go left.
#[inline(always)]
pub(super) fn mark(samples: &[u32], goes_left: &mut [bool], is_left: impl Fn(u32) -> bool) {
    for sample in samples {
        if let Some(flag) = goes_left.get_mut(*sample as usize) {
            *flag = is_left(*sample);
        }
    }
}

/// Brings those that go left to the front, both parts in their order, and says how many they are.
pub(super) fn divide_stably<T: Copy + Default>(
    items: &mut [T],
    sample: impl Fn(&T) -> u32,
    goes_left: &[bool],
    scratch: &mut Vec<T>,
) -> usize {
    let count = items.len();
    if scratch.len() < count {
        scratch.resize(count, T::default());
    }
    let scratch = &mut scratch[..count];
    let mut kept = 0;
    for place in 0..count {
        let item = items[place];
        let left = goes_left.get(sample(&item) as usize).copied().unwrap_or_default();
        // Both are written, and one of them is written over: a branch here would be taken half of the time.
        items[kept] = item;
        scratch[place - kept] = item;
        kept += usize::from(left);
    }
    items[kept..].copy_from_slice(&scratch[..count - kept]);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_sorted_by_rank_and_equal_ones_stay_in_their_order_however_many_they_are() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut sorting = Sorting::default();
        for count in [0, 1, 2, 7, 8, 9, 63, 64, 65, 300, 5000] {
            for distinct in [1, 2, 65, 300, 70_000, 1 << 24, 1 << 25, u32::MAX] {
                let ranks: Vec<u32> = (0..count * 2).map(|_| random.u32(0..distinct)).collect();
                let samples: Vec<u32> = (0..count * 2).filter(|_| random.bool()).collect();
                let mut expected = samples.clone();
                expected.sort_by_key(|sample| ranks[*sample as usize]);
                let sorted = sorting.sort(&samples, &ranks, distinct as usize);
                let found: Vec<u32> = sorted.iter().map(|entry| entry.sample()).collect();
                assert_eq!(found, expected, "{count} of {distinct}");
                assert!(sorted.iter().all(|entry| entry.rank() == ranks[entry.sample() as usize]));
            }
        }
    }
}
