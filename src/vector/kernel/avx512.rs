//! AVX-512 with VNNI: 64 bytes of codes or 16 floats at a time, tails by mask.

use std::arch::x86_64::*;
use std::marker::PhantomData;

use super::{CodesAt, Plain, prefetch};

const STEP: usize = 64;

/// Whatever is inlined into it is compiled for the level.
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn compiled<W: Plain>(work: W) -> W::Result {
    work.run()
}

#[inline(always)]
fn mask_of(left: usize) -> __mmask64 {
    if left >= STEP { u64::MAX } else { (1 << left) - 1 }
}

/// Squares of the coarse differences at 64 places, added to `sum`.
#[inline(always)]
unsafe fn coarse_step(sum: __m512i, upper: __m512i, first: __m512i, second: __m512i) -> __m512i {
    // SAFETY: the caller's level has the instructions.
    unsafe {
        let seven = _mm512_set1_epi8(0x78);
        let high = _mm512_and_si512(_mm512_srli_epi16::<1>(upper), seven);
        let low = _mm512_and_si512(_mm512_slli_epi16::<3>(upper), seven);
        let high = _mm512_abs_epi8(_mm512_sub_epi8(high, first));
        let low = _mm512_abs_epi8(_mm512_sub_epi8(low, second));
        _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(sum, high, high), low, low)
    }
}

/// Squares of the differences of bytes, added to `sum`.
#[inline(always)]
unsafe fn square_step(sum: __m512i, code: __m512i, query: __m512i) -> __m512i {
    // SAFETY: the caller's level has the instructions.
    unsafe {
        let zero = _mm512_setzero_si512();
        let apart = _mm512_sub_epi8(_mm512_max_epu8(code, query), _mm512_min_epu8(code, query));
        let low = _mm512_unpacklo_epi8(apart, zero);
        let high = _mm512_unpackhi_epi8(apart, zero);
        _mm512_dpwssd_epi32(_mm512_dpwssd_epi32(sum, low, low), high, high)
    }
}

#[inline(always)]
unsafe fn fine_step(
    sum: __m512i,
    upper: __m512i,
    lower: __m512i,
    first: __m512i,
    second: __m512i,
) -> __m512i {
    // SAFETY: the caller's level has the instructions.
    unsafe {
        let low_bits = _mm512_set1_epi8(15);
        // Where the mask has a bit, the first; elsewhere the second.
        let high = _mm512_ternarylogic_epi32::<0xca>(low_bits, _mm512_srli_epi16::<4>(lower), upper);
        let low = _mm512_ternarylogic_epi32::<0xca>(low_bits, lower, _mm512_slli_epi16::<4>(upper));
        square_step(square_step(sum, high, first), low, second)
    }
}

/// The sums of the places of four registers.
#[inline(always)]
unsafe fn sums_of_four([a, b, c, d]: [__m512i; 4]) -> __m128i {
    // SAFETY: the caller's level has the instructions.
    unsafe {
        let halves = |a, b| _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (ab, cd) = (halves(a, b), halves(c, d));
        let lanes = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
        let pair = _mm256_add_epi32(_mm512_castsi512_si256(lanes), _mm512_extracti64x4_epi64::<1>(lanes));
        _mm_add_epi32(_mm256_castsi256_si128(pair), _mm256_extracti128_si256::<1>(pair))
    }
}

/// A way to a distance between a query and codes, line by line.
trait Way {
    const READS_LOWER: bool;
    /// Planes of a code that are asked for here, so many nodes ahead. Others asked for the rest.
    const PLANES_ASKED: usize;
    const AHEAD: usize;

    /// A line of the query in the form that `add` takes.
    #[inline(always)]
    unsafe fn query(line: __m512i) -> __m512i {
        line
    }

    /// Adds what comes together at the places of a line of both planes and of both halves of the query.
    unsafe fn add(sums: [__m512i; 2], planes: [__m512i; 2], halves: [__m512i; 2]) -> [__m512i; 2];

    #[inline(always)]
    unsafe fn total(sums: [__m512i; 2]) -> __m512i {
        sums[0]
    }

    /// Asks for what else of a node is read.
    #[inline(always)]
    fn ask_for(&self, _node: u32) {}

    /// Distances to four nodes of their sums.
    #[inline(always)]
    unsafe fn distances(&self, _nodes: &[u32; 4], sums: __m128i) -> __m128i {
        sums
    }

    /// As `distances`, to one.
    #[inline(always)]
    unsafe fn distance(&self, _node: u32, sum: i32) -> u32 {
        sum as u32
    }
}

/// Over the upper plane.
struct Coarse;

impl Way for Coarse {
    const READS_LOWER: bool = false;
    const PLANES_ASKED: usize = 0;
    const AHEAD: usize = 0;

    #[inline(always)]
    unsafe fn add(sums: [__m512i; 2], planes: [__m512i; 2], halves: [__m512i; 2]) -> [__m512i; 2] {
        // SAFETY: the caller's level has the instructions.
        unsafe { [coarse_step(sums[0], planes[0], halves[0], halves[1]), sums[1]] }
    }
}

/// Over both planes.
struct Fine;

impl Way for Fine {
    const READS_LOWER: bool = true;
    const PLANES_ASKED: usize = 2;
    const AHEAD: usize = 4;

    #[inline(always)]
    unsafe fn add(sums: [__m512i; 2], planes: [__m512i; 2], halves: [__m512i; 2]) -> [__m512i; 2] {
        // SAFETY: the caller's level has the instructions.
        unsafe { [fine_step(sums[0], planes[0], planes[1], halves[0], halves[1]), sums[1]] }
    }
}

/// Over the upper plane by its products with the query, which take half of the instructions that differences do. With
/// `x` of 4 bits, `q` of 7, and `s = q - 64`, which is a signed byte:
/// `(8x - q)^2 = (64 x^2 - 1024 x) - 16 x s + q^2`. The first is kept for each node, the last is the query's.
struct Products {
    terms: *const i32,
    of_query: i32,
}

impl Products {
    /// Safety: there is a term for every node, and `2 * plane` bytes of a query.
    #[inline(always)]
    unsafe fn new(query: *const u8, plane: usize, terms: *const i32) -> Products {
        // SAFETY: masks keep every read inside the query.
        unsafe {
            let mut squares = _mm512_setzero_si512();
            for at in (0..2 * plane).step_by(STEP) {
                let line = _mm512_maskz_loadu_epi8(mask_of(2 * plane - at), query.add(at).cast());
                squares = _mm512_dpbusd_epi32(squares, line, line);
            }
            Products { terms, of_query: _mm512_reduce_add_epi32(squares) }
        }
    }

    #[inline(always)]
    unsafe fn term(&self, node: u32) -> i32 {
        // SAFETY: there is one for every node.
        unsafe { *self.terms.add(node as usize) }
    }
}

impl Way for Products {
    const READS_LOWER: bool = false;
    const PLANES_ASKED: usize = 1;
    /// What a processor has of lines under way, and some.
    const AHEAD: usize = 16;

    #[inline(always)]
    fn ask_for(&self, node: u32) {
        prefetch(self.terms.wrapping_add(node as usize).cast());
    }

    #[inline(always)]
    unsafe fn query(line: __m512i) -> __m512i {
        // SAFETY: the caller's level has the instructions.
        unsafe { _mm512_sub_epi8(line, _mm512_set1_epi8(64)) }
    }

    /// The upper halves of bytes stay where they are: their sums are 16 times what they stand for.
    #[inline(always)]
    unsafe fn add(sums: [__m512i; 2], planes: [__m512i; 2], halves: [__m512i; 2]) -> [__m512i; 2] {
        // SAFETY: the caller's level has the instructions.
        unsafe {
            let low_bits = _mm512_set1_epi8(15);
            let (high, low) =
                (_mm512_andnot_si512(low_bits, planes[0]), _mm512_and_si512(low_bits, planes[0]));
            [_mm512_dpbusd_epi32(sums[0], high, halves[0]), _mm512_dpbusd_epi32(sums[1], low, halves[1])]
        }
    }

    #[inline(always)]
    unsafe fn total(sums: [__m512i; 2]) -> __m512i {
        // SAFETY: the caller's level has the instructions.
        unsafe { _mm512_add_epi32(sums[0], _mm512_slli_epi32::<4>(sums[1])) }
    }

    #[inline(always)]
    unsafe fn distances(&self, nodes: &[u32; 4], sums: __m128i) -> __m128i {
        // SAFETY: there is a term for every node.
        unsafe {
            let [a, b, c, d] = nodes.map(|node| self.term(node));
            let terms = _mm_add_epi32(_mm_set_epi32(d, c, b, a), _mm_set1_epi32(self.of_query));
            _mm_sub_epi32(terms, sums)
        }
    }

    #[inline(always)]
    unsafe fn distance(&self, node: u32, sum: i32) -> u32 {
        // SAFETY: there is a term for every node.
        unsafe { (self.term(node) + self.of_query - sum) as u32 }
    }
}

/// A prepared query: what of its distance to a code comes together in each place of a register.
trait Parts {
    type Way: Way;
    /// Safety: the machine has the level, and there is a code.
    unsafe fn parts(&self, code: *const u8) -> __m512i;
    /// Bytes of a plane.
    fn plane(&self) -> usize;
}

#[inline(always)]
fn ask_for<P: Parts>(way: &P::Way, query: &P, codes: CodesAt, node: u32) {
    let code = codes.start.wrapping_add(node as usize * codes.stride);
    (0..P::Way::PLANES_ASKED * query.plane()).step_by(STEP).for_each(|at| prefetch(code.wrapping_add(at)));
    way.ask_for(node);
}

/// Writes the distance of each of the nodes. Four at a time, since a sum over the places of a register takes
/// about as long as a line of codes.
#[inline(always)]
unsafe fn each_node<P: Parts>(way: &P::Way, query: &P, codes: CodesAt, nodes: &[u32], out: &mut [u32]) {
    // SAFETY: as promised by the caller: the level, and a code for every node.
    unsafe {
        let (fours, rest) = nodes.as_chunks::<4>();
        let (outs, out_rest) = out.as_chunks_mut::<4>();
        // The first of those that are measured in full were asked for by whoever chose them.
        if !P::Way::READS_LOWER {
            nodes.iter().take(P::Way::AHEAD).for_each(|node| ask_for(way, query, codes, *node));
        }
        for (at, (four, out)) in fours.iter().zip(outs).enumerate() {
            for node in nodes[at * 4..].iter().skip(P::Way::AHEAD).take(4) {
                ask_for(way, query, codes, *node);
            }
            let mut parts = [_mm512_setzero_si512(); 4];
            for (part, node) in parts.iter_mut().zip(four) {
                *part = query.parts(codes.start.add(*node as usize * codes.stride));
            }
            _mm_storeu_si128(out.as_mut_ptr().cast(), way.distances(four, sums_of_four(parts)));
        }
        for (node, out) in rest.iter().zip(out_rest) {
            let parts = query.parts(codes.start.add(*node as usize * codes.stride));
            *out = way.distance(*node, _mm512_reduce_add_epi32(parts));
        }
    }
}

/// A query for planes of whole lines: it is in registers all the time.
struct Lines<const LINES: usize, W> {
    halves: [[__m512i; 2]; LINES],
    way: PhantomData<W>,
}

impl<const LINES: usize, W: Way> Lines<LINES, W> {
    #[inline(always)]
    unsafe fn new(query: *const u8) -> Self {
        // SAFETY: a query has two planes, which are `LINES` lines long.
        let part = |at: usize| unsafe { W::query(_mm512_loadu_si512(query.add(at * STEP).cast())) };
        Lines { halves: std::array::from_fn(|at| [part(at), part(LINES + at)]), way: PhantomData }
    }
}

impl<const LINES: usize, W: Way> Parts for Lines<LINES, W> {
    type Way = W;

    #[inline(always)]
    unsafe fn parts(&self, code: *const u8) -> __m512i {
        // SAFETY: the planes of a code are `LINES` lines long.
        unsafe {
            let mut sums = [_mm512_setzero_si512(); 2];
            for (line, halves) in self.halves.iter().enumerate() {
                let upper = _mm512_loadu_si512(code.add(line * STEP).cast());
                let lower = match W::READS_LOWER {
                    true => _mm512_loadu_si512(code.add((LINES + line) * STEP).cast()),
                    false => upper,
                };
                sums = W::add(sums, [upper, lower], *halves);
            }
            W::total(sums)
        }
    }

    #[inline(always)]
    fn plane(&self) -> usize {
        LINES * STEP
    }
}

/// A query for planes of any size.
struct Masked<W> {
    query: *const u8,
    plane: usize,
    way: PhantomData<W>,
}

impl<W: Way> Parts for Masked<W> {
    type Way = W;

    #[inline(always)]
    unsafe fn parts(&self, code: *const u8) -> __m512i {
        // SAFETY: masks keep every read inside the planes.
        unsafe {
            let mut sums = [_mm512_setzero_si512(); 2];
            for at in (0..self.plane).step_by(STEP) {
                let mask = mask_of(self.plane - at);
                let line = |from: *const u8| _mm512_maskz_loadu_epi8(mask, from.add(at).cast());
                let upper = line(code);
                let lower = if W::READS_LOWER { line(code.add(self.plane)) } else { upper };
                let halves = [W::query(line(self.query)), W::query(line(self.query.add(self.plane)))];
                sums = W::add(sums, [upper, lower], halves);
            }
            W::total(sums)
        }
    }

    #[inline(always)]
    fn plane(&self) -> usize {
        self.plane
    }
}

#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn coarse(query: *const u8, codes: CodesAt, nodes: &[u32], out: &mut [u32]) {
    // SAFETY: as promised by the caller.
    unsafe { distances(Coarse, query, codes, nodes, out) }
}

#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn coarse_by_terms(
    query: *const u8,
    codes: CodesAt,
    terms: *const i32,
    nodes: &[u32],
    out: &mut [u32],
) {
    // SAFETY: as promised by the caller.
    unsafe { distances(Products::new(query, codes.plane, terms), query, codes, nodes, out) }
}

#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn fine(query: *const u8, codes: CodesAt, nodes: &[u32], out: &mut [u32]) {
    // SAFETY: as promised by the caller.
    unsafe { distances(Fine, query, codes, nodes, out) }
}

#[inline(always)]
unsafe fn distances<W: Way>(way: W, query: *const u8, codes: CodesAt, nodes: &[u32], out: &mut [u32]) {
    // SAFETY: as promised by the caller.
    unsafe {
        match codes.plane {
            64 => each_node(&way, &Lines::<1, W>::new(query), codes, nodes, out),
            192 => each_node(&way, &Lines::<3, W>::new(query), codes, nodes, out),
            plane => each_node(&way, &Masked { query, plane, way: PhantomData::<W> }, codes, nodes, out),
        }
    }
}

/// An element type: 16 of its numbers as f32, where the mask has bits.
pub(super) trait Numbers {
    /// Safety: elements of the mask can be read from element `at` on.
    unsafe fn load(start: *const u8, at: usize, mask: __mmask16) -> __m512;
}

pub(super) struct F32;
pub(super) struct F16;
pub(super) struct Bf16;

impl Numbers for F32 {
    #[inline(always)]
    unsafe fn load(start: *const u8, at: usize, mask: __mmask16) -> __m512 {
        // SAFETY: elements of the mask can be read.
        unsafe { _mm512_maskz_loadu_ps(mask, start.add(at * 4).cast()) }
    }
}

impl Numbers for F16 {
    #[inline(always)]
    unsafe fn load(start: *const u8, at: usize, mask: __mmask16) -> __m512 {
        // SAFETY: elements of the mask can be read.
        unsafe { _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, start.add(at * 2).cast())) }
    }
}

impl Numbers for Bf16 {
    #[inline(always)]
    unsafe fn load(start: *const u8, at: usize, mask: __mmask16) -> __m512 {
        // SAFETY: elements of the mask can be read.
        unsafe {
            let halves = _mm256_maskz_loadu_epi16(mask, start.add(at * 2).cast());
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
        }
    }
}

const FLOATS: usize = 16;
/// Sums side by side: the latency of an addition is four of its times.
const SUMS: usize = 4;

/// Calls `step` for every 16 numbers of both, with the place of the sum to use.
#[inline(always)]
unsafe fn each<N: Numbers>(query: &[f32], original: *const u8, mut step: impl FnMut(usize, __m512, __m512)) {
    let whole = query.len() / FLOATS;
    // SAFETY: as many elements as the query has; the mask covers what is left.
    unsafe {
        let query_at = |at: usize, mask| _mm512_maskz_loadu_ps(mask, query.as_ptr().add(at));
        let mut block = 0;
        while block + SUMS <= whole {
            for sum in 0..SUMS {
                let at = (block + sum) * FLOATS;
                step(sum, query_at(at, u16::MAX), N::load(original, at, u16::MAX));
            }
            block += SUMS;
        }
        for sum in 0..SUMS {
            let at = (block + sum) * FLOATS;
            let left = query.len().saturating_sub(at);
            if left > 0 {
                let mask = if left >= FLOATS { u16::MAX } else { (1 << left) - 1 };
                step(sum, query_at(at, mask), N::load(original, at, mask));
            }
        }
    }
}

#[inline(always)]
unsafe fn total(sums: [__m512; SUMS]) -> f32 {
    // SAFETY: the caller's level has the instructions.
    unsafe {
        _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3])))
    }
}

#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn dot<N: Numbers>(query: &[f32], original: *const u8) -> [f32; 2] {
    // SAFETY: as promised by the caller.
    unsafe {
        let mut sums = [_mm512_setzero_ps(); SUMS];
        each::<N>(query, original, |at, q, x| sums[at] = _mm512_fmadd_ps(q, x, sums[at]));
        [total(sums), 0.0]
    }
}

#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn l2<N: Numbers>(query: &[f32], original: *const u8) -> [f32; 2] {
    // SAFETY: as promised by the caller.
    unsafe {
        let mut sums = [_mm512_setzero_ps(); SUMS];
        each::<N>(query, original, |at, q, x| {
            let apart = _mm512_sub_ps(q, x);
            sums[at] = _mm512_fmadd_ps(apart, apart, sums[at]);
        });
        [total(sums), 0.0]
    }
}

#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn dot_norm<N: Numbers>(query: &[f32], original: *const u8) -> [f32; 2] {
    // SAFETY: as promised by the caller.
    unsafe {
        let (mut dots, mut norms) = ([_mm512_setzero_ps(); SUMS], [_mm512_setzero_ps(); SUMS]);
        each::<N>(query, original, |at, q, x| {
            dots[at] = _mm512_fmadd_ps(q, x, dots[at]);
            norms[at] = _mm512_fmadd_ps(x, x, norms[at]);
        });
        [total(dots), total(norms)]
    }
}
