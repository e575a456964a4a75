//! The best place to divide a node's samples by one feature.

use super::{Limits, Sums};
use crate::fit::{
    criterion::LANES,
    matrix::{Entry, FEATURE_THRESHOLD, Many, TreeColumn},
};

/// The best split of one feature.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) proxy: f64,
    /// The rank or code of the last samples that go left.
    pub(super) last_left: u32,
    /// That of the first that go right; of an indicator, those of its code do.
    pub(super) first_right: u32,
}

/// What looking at a feature has shown.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verdict {
    Constant,
    /// None where no split leaves enough on both sides.
    Varies(Option<Candidate>),
}

/// The samples of one code.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bin<S> {
    pub(super) count: usize,
    pub(super) sums: S,
}

/// As many sums as fit into the first-level cache, and what a split behind each is worth.
pub(super) struct Pieces<S> {
    sums: Box<[S; PIECE]>,
    proxies: Box<[f64; PIECE]>,
}

const PIECE: usize = 128;

impl<S: Sums> Default for Pieces<S> {
    fn default() -> Self {
        Self { sums: Box::new([S::default(); PIECE]), proxies: Box::new([0.0; PIECE]) }
    }
}

impl<S: Sums> Pieces<S> {
    /// Computes what splits are worth, and the most of it.
    #[inline(always)]
    fn judge(&mut self, count: usize, total: S) -> f64 {
        let larger = |left: f64, right: f64| if left > right { left } else { right };
        let count = count.min(PIECE);
        let (sums, last_sums) = self.sums[..count].as_chunks::<LANES>();
        let (proxies, last_proxies) = self.proxies[..count].as_chunks_mut::<LANES>();
        let mut largest = [f64::NEG_INFINITY; LANES];
        for (proxies, sums) in proxies.iter_mut().zip(sums) {
            *proxies = S::proxies(sums, total);
            for (largest, proxy) in largest.iter_mut().zip(proxies) {
                *largest = larger(*proxy, *largest);
            }
        }
        for (proxy, sum) in last_proxies.iter_mut().zip(last_sums) {
            *proxy = S::proxy(*sum, total);
        }
        largest.iter().chain(&*last_proxies).fold(f64::NEG_INFINITY, |most, proxy| larger(*proxy, most))
    }
}

/// Looking for the best place to divide sorted samples.
struct Search<'a, S> {
    limits: &'a Limits,
    entries: &'a [Entry],
    column: &'a Many,
    total: S,
    best_proxy: f64,
    place: Option<usize>,
}

impl<S: Sums> Search<'_, S> {
    fn rank(&self, place: usize) -> Option<u32> {
        self.entries.get(place).map(|entry| entry.rank())
    }

    /// A split that has so many samples, which are worth so much, on its left.
    #[inline(always)]
    fn consider(&mut self, place: usize, left: S, proxy: f64) {
        if proxy > self.best_proxy
            && let (Some(before), Some(after)) = (self.rank(place - 1), self.rank(place))
            && self.column.differ(before, after)
            && place >= self.limits.min_samples_leaf
            && self.entries.len() - place >= self.limits.min_samples_leaf
            && self.limits.leaves_weight(left, self.total)
        {
            self.best_proxy = proxy;
            self.place = Some(place);
        }
    }

    fn candidate(&self) -> Option<Candidate> {
        let place = self.place?;
        let (last_left, first_right) = (self.rank(place - 1)?, self.rank(place)?);
        Some(Candidate { proxy: self.best_proxy, last_left, first_right })
    }
}

/// The best place to divide sorted samples, if it is worth more than `floor`; `sums` are those of all samples.
///
/// In pieces: sums first, which wait for each other; then what they are worth, which do not and are computed in
/// vectors; then the comparison.
#[inline(always)]
pub(super) fn best_between<S: Sums>(
    limits: &Limits,
    entries: &[Entry],
    column: &Many,
    (sums, total): (&[S], S),
    floor: f64,
    pieces: &mut Pieces<S>,
) -> Verdict {
    const TOO_FEW_FOR_VECTORS: usize = 12;
    let mut search = Search { limits, entries, column, total, best_proxy: floor, place: None };
    match (entries.first(), entries.last()) {
        (Some(lowest), Some(highest)) if column.differ(lowest.rank(), highest.rank()) => {}
        _ => return Verdict::Constant,
    }
    let mut left = S::default();
    for (start, piece) in (0..).step_by(PIECE).zip(entries.chunks(PIECE)) {
        for (slot, entry) in pieces.sums.iter_mut().zip(piece) {
            left += sums.get(entry.sample() as usize).copied().unwrap_or_default();
            *slot = left;
        }
        if piece.len() < TOO_FEW_FOR_VECTORS {
            for (place, left) in (start + 1..).zip(pieces.sums.iter().take(piece.len())) {
                search.consider(place, *left, S::proxy(*left, total));
            }
        } else if pieces.judge(piece.len(), total) > search.best_proxy {
            for (place, (left, proxy)) in
                (start + 1..).zip(pieces.sums.iter().zip(pieces.proxies.iter()).take(piece.len()))
            {
                search.consider(place, *left, *proxy);
            }
        }
    }
    Verdict::Varies(search.candidate())
}

/// The best place to divide counted samples; `values` are the smallest and the largest of each code.
#[inline(always)]
pub(super) fn best_between_bins<S: Sums>(
    limits: &Limits,
    bins: &[Bin<S>],
    values: &[(f32, f32)],
    total: S,
    count: usize,
) -> Verdict {
    let mut seen = (0..).zip(bins.iter().zip(values)).filter(|(_, (bin, _))| bin.count > 0);
    let Some((mut last_left, (first, mut value))) = seen.next() else { return Verdict::Constant };
    let (mut left, mut left_count) = (first.sums, first.count);
    let (lowest, mut highest) = (value.1, value.1);
    let mut best = None;
    let mut best_proxy = f64::NEG_INFINITY;
    for (code, (bin, next)) in seen {
        highest = next.0;
        if next.0 > value.1 + FEATURE_THRESHOLD
            && let Some(proxy) = limits.proxy(left, total, left_count, count)
            && proxy > best_proxy
        {
            best_proxy = proxy;
            best = Some(Candidate { proxy, last_left, first_right: code });
        }
        left += bin.sums;
        left_count += bin.count;
        (last_left, value) = (code, next);
    }
    if highest <= lowest + FEATURE_THRESHOLD { Verdict::Constant } else { Verdict::Varies(best) }
}

/// Whether samples of one code, of `total` and `count` in the node, are worth being divided from the others.
pub(super) fn of_indicator<S: Sums>(
    limits: &Limits,
    ones: Bin<S>,
    hot: u32,
    total: S,
    count: usize,
) -> Verdict {
    if ones.count == 0 || ones.count == count {
        return Verdict::Constant;
    }
    let proxy = limits.proxy(total - ones.sums, total, count - ones.count, count);
    Verdict::Varies(proxy.map(|proxy| Candidate { proxy, last_left: hot, first_right: hot }))
}

impl Candidate {
    /// The middle between the values on both sides.
    pub(super) fn threshold(self, column: &TreeColumn) -> Option<f64> {
        let (low, high) = match column {
            TreeColumn::Many(many) => (many.value(self.last_left)?, many.value(self.first_right)?),
            TreeColumn::Few(coded) => {
                (coded.bins.get(self.last_left as usize)?.1, coded.bins.get(self.first_right as usize)?.0)
            }
            TreeColumn::Indicator { .. } => (0.0, 1.0),
        };
        // Halves are added, because a sum may be infinite.
        Some(f64::from(low) / 2.0 + f64::from(high) / 2.0)
    }
}
