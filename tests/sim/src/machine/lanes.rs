//! The register file of a warp.

use bytemuck::{Pod, Zeroable};

use crate::decode::inst::Row;

/// A 32-bit value for each lane.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Lanes(pub [u32; 32]);

/// The rows of a warp.
#[derive(Debug, Default)]
pub struct Rows(Vec<Lanes>);

/// A value that a lane can hold.
pub trait Value: Copy + Default {
    fn read(rows: &Rows, at: Row) -> [Self; 32];
    /// Writes the lanes of `mask`, and leaves the others.
    fn write(rows: &mut Rows, at: Row, values: [Self; 32], mask: u32);
}

impl Rows {
    pub fn new(count: u32) -> Rows {
        Rows(vec![Lanes::zeroed(); count as usize])
    }

    #[inline(always)]
    pub fn get(&self, at: Row) -> &[u32; 32] {
        &self.0[at as usize].0
    }

    #[inline(always)]
    pub fn get_mut(&mut self, at: Row) -> &mut [u32; 32] {
        &mut self.0[at as usize].0
    }

    #[inline(always)]
    fn get64(&self, at: Row) -> [u64; 32] {
        bytemuck::cast([self.0[at as usize], self.0[at as usize + 1]])
    }

    #[inline(always)]
    pub fn lane64(&self, at: Row, lane: usize) -> u64 {
        let row = &self.0[at as usize + lane / 16].0;
        let at = lane % 16 * 2;
        u64::from(row[at]) | u64::from(row[at + 1]) << 32
    }

    #[inline(always)]
    pub fn set_lane64(&mut self, at: Row, lane: usize, value: u64) {
        let row = &mut self.0[at as usize + lane / 16].0;
        let at = lane % 16 * 2;
        row[at] = value as u32;
        row[at + 1] = (value >> 32) as u32;
    }

    /// A lane of a 32-bit or, if `wide`, 64-bit row.
    #[inline(always)]
    pub fn lane(&self, at: Row, wide: bool, lane: usize) -> u64 {
        if wide { self.lane64(at, lane) } else { u64::from(self.get(at)[lane]) }
    }

    #[inline(always)]
    pub fn set_lane(&mut self, at: Row, wide: bool, lane: usize, value: u64) {
        if wide {
            self.set_lane64(at, lane, value);
        } else {
            self.get_mut(at)[lane] = value as u32;
        }
    }
}

#[inline(always)]
fn blend<T: Copy>(old: &mut [T; 32], new: [T; 32], mask: u32) {
    if mask == u32::MAX {
        *old = new;
        return;
    }
    for lane in 0..32 {
        if mask >> lane & 1 != 0 {
            old[lane] = new[lane];
        }
    }
}

impl Value for u32 {
    #[inline(always)]
    fn read(rows: &Rows, at: Row) -> [u32; 32] {
        *rows.get(at)
    }

    #[inline(always)]
    fn write(rows: &mut Rows, at: Row, values: [u32; 32], mask: u32) {
        blend(rows.get_mut(at), values, mask);
    }
}

impl Value for u64 {
    #[inline(always)]
    fn read(rows: &Rows, at: Row) -> [u64; 32] {
        rows.get64(at)
    }

    #[inline(always)]
    fn write(rows: &mut Rows, at: Row, values: [u64; 32], mask: u32) {
        let mut old = if mask == u32::MAX { values } else { rows.get64(at) };
        blend(&mut old, values, mask);
        let [low, high]: [Lanes; 2] = bytemuck::cast(old);
        rows.0[at as usize] = low;
        rows.0[at as usize + 1] = high;
    }
}

/// Values of the same size as another: the bits are the same.
macro_rules! same_bits {
    ($($value:ty as $bits:ty),*) => {$(
        impl Value for $value {
            #[inline(always)]
            fn read(rows: &Rows, at: Row) -> [$value; 32] {
                bytemuck::cast(<$bits>::read(rows, at))
            }

            #[inline(always)]
            fn write(rows: &mut Rows, at: Row, values: [$value; 32], mask: u32) {
                <$bits>::write(rows, at, bytemuck::cast(values), mask);
            }
        }
    )*};
}
same_bits!(i32 as u32, f32 as u32, i64 as u64, f64 as u64);

/// Small values lie zero-extended in 32 bits; what is above them is not looked at.
macro_rules! small {
    ($($value:ty as $unsigned:ty),*) => {$(
        impl Value for $value {
            #[inline(always)]
            fn read(rows: &Rows, at: Row) -> [$value; 32] {
                u32::read(rows, at).map(|bits| bits as $value)
            }

            #[inline(always)]
            fn write(rows: &mut Rows, at: Row, values: [$value; 32], mask: u32) {
                u32::write(rows, at, values.map(|value| u32::from(value as $unsigned)), mask);
            }
        }
    )*};
}
small!(u8 as u8, i8 as u8, u16 as u16, i16 as u16);
