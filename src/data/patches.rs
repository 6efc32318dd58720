//! Images as patches of 4 x 4 pixels, and which of these are dark: what the CPU engine trains on.
//!
//! Clothes and digits lie on a black ground, and a product need not multiply by zeros. Sixteen pixels fill a vector:
//! of Fashion-MNIST's runs of sixteen along the rows 16 % are all zero, of its patches 31 %.

use std::ops::Range;

use super::large_pages::LargePages;

/// Pixels of a patch, which lie side by side.
pub const PATCH: usize = 16;
const SIDE: usize = 4;

/// Images in patches, made once of a data set: 10 to 20 ms and 47 MB for Fashion-MNIST.
pub struct Patches {
    size: [usize; 2],
    order: Vec<u32>,
    pixels: LargePages,
    lit: Vec<u64>,
}

/// Some of the images, with their labels.
#[derive(Clone, Copy, Default)]
pub struct PatchedPart<'a> {
    /// Which pixel of an image, row-major, is at each place of a sample. Where the sides are not multiples of four this is
    /// the order of the file, and a patch is a run of sixteen, the last one perhaps shorter.
    pub order: &'a [u32],
    /// `labels.len() x order.len()` bytes.
    pub pixels: &'a [u8],
    pub labels: &'a [u8],
    lit: &'a [u64],
}

/// Words of 64 bits that a set of so many members takes.
pub const fn words(members: usize) -> usize {
    members.div_ceil(u64::BITS as usize)
}

impl Patches {
    /// Cuts images of `size`, rows and columns, into patches.
    pub fn new(images: &[u8], size: [usize; 2]) -> Self {
        let order = order(size);
        let inputs = order.len().max(1);
        let mut pixels = LargePages::zeroed(images.len());
        // On all cores: most of it is the wait for memory that is touched for the first time.
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let share = (images.len() / inputs).div_ceil(threads).max(1) * inputs;
        let sets = std::thread::scope(|scope| {
            let shares = images.chunks(share).zip(pixels.chunks_mut(share));
            let order = &order[..];
            let cut = |(images, pixels)| scope.spawn(move || cut(images, pixels, size, order));
            let threads: Vec<_> = shares.map(cut).collect();
            let sets = threads.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            sets.collect::<Vec<_>>().concat()
        });
        Patches { size, order, pixels, lit: sets }
    }

    /// The size of every image: rows and columns.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Some of the images with these labels.
    pub fn part<'a>(&'a self, samples: Range<usize>, labels: &'a [u8]) -> PatchedPart<'a> {
        let of = |values: usize| samples.start * values..samples.end * values;
        let (inputs, words) = (self.order.len(), words(self.order.len().div_ceil(PATCH)));
        let (pixels, lit) = (&self.pixels[of(inputs)], &self.lit[of(words)]);
        PatchedPart { order: &self.order, pixels, labels, lit }
    }
}

impl<'a> PatchedPart<'a> {
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The share of patches that are all zero.
    pub fn dark(&self) -> f64 {
        let patches = self.len() * self.order.len().div_ceil(PATCH);
        let lit: u64 = self.lit.iter().map(|word| u64::from(word.count_ones())).sum();
        (patches as f64 - lit as f64) / patches.max(1) as f64
    }

    /// A sample's pixels, patch by patch.
    pub fn sample(&self, sample: usize) -> &'a [u8] {
        let inputs = self.order.len();
        &self.pixels[sample * inputs..][..inputs]
    }

    /// A sample's patches that are not all zero: a set, bit `i % 64` of word `i / 64` for patch `i`.
    pub fn lit(&self, sample: usize) -> &'a [u64] {
        let words = words(self.order.len().div_ceil(PATCH));
        &self.lit[sample * words..][..words]
    }
}

/// Cuts images into patches of this order; returns the sets of those that are lit.
fn cut(images: &[u8], pixels: &mut [u8], size: [usize; 2], order: &[u32]) -> Vec<u64> {
    let inputs = order.len().max(1);
    let mut sets = Vec::with_capacity(images.len() / inputs * words(inputs.div_ceil(PATCH)));
    let (quads, _) = order.as_chunks::<SIDE>();
    for (image, sample) in images.chunks_exact(inputs).zip(pixels.chunks_exact_mut(inputs)) {
        if is_patched(size) {
            let (sample, _) = sample.as_chunks_mut::<SIDE>();
            for (to, [first, ..]) in sample.iter_mut().zip(quads) {
                to.copy_from_slice(&image[*first as usize..][..SIDE]);
            }
        } else {
            sample.copy_from_slice(image);
        }
        sets.extend(lit(sample));
    }
    sets
}

fn is_patched([rows, columns]: [usize; 2]) -> bool {
    rows.is_multiple_of(SIDE) && columns.is_multiple_of(SIDE)
}

/// The pixel at each place: patches in the order of reading, their pixels in the order of reading.
fn order([rows, columns]: [usize; 2]) -> Vec<u32> {
    let pixel = |place: usize| {
        let (patch, inside) = (place / PATCH, place % PATCH);
        let (down, along) = (patch / (columns / SIDE), patch % (columns / SIDE));
        (down * SIDE + inside / SIDE) * columns + along * SIDE + inside % SIDE
    };
    let places = 0..rows * columns;
    match is_patched([rows, columns]) {
        true => places.map(|place| pixel(place) as u32).collect(),
        false => places.map(|place| place as u32).collect(),
    }
}

/// The set of a sample's patches that are not all zero, in words.
fn lit(sample: &[u8]) -> impl Iterator<Item = u64> {
    sample.chunks(PATCH * u64::BITS as usize).map(|patches| {
        let (whole, rest) = patches.as_chunks::<PATCH>();
        let lit = whole.iter().map(|patch| u128::from_ne_bytes(*patch) != 0);
        let last = (!rest.is_empty()).then(|| rest.iter().any(|&pixel| pixel != 0));
        lit.chain(last).enumerate().fold(0, |set, (patch, lit)| set | u64::from(lit) << patch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images of their own place's numbers, but for some zeros.
    fn images(count: usize, inputs: usize, zero: impl Fn(usize, usize) -> bool) -> Vec<u8> {
        let pixel = |sample, i| if zero(sample, i) { 0 } else { (sample * 7 + i) as u8 | 1 };
        (0..count)
            .flat_map(|sample| (0..inputs).map(move |i| (sample, i)))
            .map(|(s, i)| pixel(s, i))
            .collect()
    }

    #[test]
    fn every_pixel_has_one_place_and_patches_are_squares() {
        let order = order([8, 12]);
        assert_eq!(
            order[..20],
            [0, 1, 2, 3, 12, 13, 14, 15, 24, 25, 26, 27, 36, 37, 38, 39, 4, 5, 6, 7]
        );
        assert_eq!(order[48..52], [48, 49, 50, 51]);
        let mut pixels = order.clone();
        pixels.sort_unstable();
        assert!(pixels.into_iter().eq(0..96));
    }

    #[test]
    fn a_sample_is_its_image_in_that_order_and_a_patch_is_lit_that_has_a_pixel() {
        // In one word, in two, in two with a shorter last patch, and with sides that make no patches.
        for size in [[28, 28], [40, 36], [33, 35], [3, 5], [1, 1]] {
            let inputs = size[0] * size[1];
            let images = images(5, inputs, |sample, i| sample != 4 && (i + sample) % 31 > 2);
            let patches = Patches::new(&images, size);
            let part = patches.part(1..5, &[0; 4]);
            assert_eq!((part.len(), patches.size()), (4, size));
            let lit: u32 = (0..4).flat_map(|s| part.lit(s)).map(|word| word.count_ones()).sum();
            let all = 4 * inputs.div_ceil(PATCH) as u32;
            assert_eq!(part.dark(), f64::from(all - lit) / f64::from(all));
            for sample in 0..4 {
                let image = &images[(sample + 1) * inputs..][..inputs];
                let expected: Vec<u8> = part.order.iter().map(|&i| image[i as usize]).collect();
                assert_eq!(part.sample(sample), expected);
                for (patch, pixels) in expected.chunks(PATCH).enumerate() {
                    let lit = part.lit(sample)[patch / 64] >> (patch % 64) & 1 == 1;
                    assert_eq!(lit, pixels.iter().any(|&p| p > 0), "{size:?} {sample} {patch}");
                }
            }
        }
    }
}
