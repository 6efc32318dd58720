//! How many blocks of a kernel a multiprocessor holds, and what keeps it from holding more.
//!
//! The number is the driver's. The reason it does not tell, so the rules of the CUDA occupancy
//! calculator are followed here: registers are given out to a warp in units of 256, shared memory to a
//! block in units of 128 bytes (1 KiB of it is the system's since compute capability 8.0).

use cudarc::driver::sys::CUdevice_attribute as Attribute;

use super::{CudaError, Device, Function, Shape};

/// What a multiprocessor has to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multiprocessor {
    pub threads: usize,
    pub blocks: usize,
    pub registers: usize,
    /// Bytes.
    pub shared: usize,
    /// Bytes of shared memory that each block costs beside its own.
    pub shared_reserved: usize,
}

/// What a block of a kernel takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockNeeds {
    pub threads: usize,
    /// Of a thread.
    pub registers: usize,
    /// Bytes, static and dynamic.
    pub shared: usize,
}

const WARP: usize = 32;

impl Multiprocessor {
    /// Blocks that fit by each resource alone, and its name.
    fn fits(&self, block: &BlockNeeds) -> [(usize, &'static str); 4] {
        let warps = block.threads.div_ceil(WARP).max(1);
        let registers = (block.registers * WARP).next_multiple_of(256) * warps;
        let shared = (block.shared + self.shared_reserved).next_multiple_of(128);
        let of = |has: usize, needs: usize| has.checked_div(needs).unwrap_or(usize::MAX);
        [
            (of(self.threads, warps * WARP), "threads"),
            (self.blocks, "block slots"),
            (of(self.registers, registers), "registers"),
            (if block.shared == 0 { usize::MAX } else { of(self.shared, shared) }, "shared memory"),
        ]
    }

    /// What there is too little of for one more block than `resident`, in a launch of `blocks` on
    /// `multiprocessors` of these.
    pub fn limit(
        &self,
        block: &BlockNeeds,
        resident: usize,
        (blocks, multiprocessors): (usize, usize),
    ) -> &'static str {
        if blocks < resident * multiprocessors {
            return "too few blocks";
        }
        let least = self.fits(block).into_iter().min_by_key(|(fit, _)| *fit);
        least.map_or("unknown", |(_, name)| name)
    }
}

impl Device {
    /// What each of its multiprocessors has to give.
    pub fn multiprocessor(&self) -> Result<Multiprocessor, CudaError> {
        let attribute = |attribute: Attribute| {
            let value = self.context().attribute(attribute);
            value.map(|value| value.max(0) as usize).map_err(CudaError::of("cuDeviceGetAttribute"))
        };
        Ok(Multiprocessor {
            threads: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR)?,
            blocks: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR)?,
            registers: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR)?,
            shared: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR)?,
            shared_reserved: attribute(
                Attribute::CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK,
            )?,
        })
    }
}

impl Function {
    /// What a block of a launch of this shape takes.
    pub fn block_needs(&self, shape: Shape) -> Result<BlockNeeds, CudaError> {
        let (x, y, z) = shape.block;
        Ok(BlockNeeds {
            threads: x as usize * y as usize * z as usize,
            registers: self.registers()?,
            shared: self.static_shared()? + shape.shared as usize,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compute capability 9.0.
    const HOPPER: Multiprocessor = Multiprocessor {
        threads: 2048,
        blocks: 32,
        registers: 65536,
        shared: 233_472,
        shared_reserved: 1024,
    };
    const MANY: (usize, usize) = (100_000, 132);

    fn limit(threads: usize, registers: usize, shared: usize, resident: usize) -> &'static str {
        let block = BlockNeeds { threads, registers, shared };
        // The driver's number, which the rules must come to as well.
        let fit = HOPPER.fits(&block).into_iter().map(|(fit, _)| fit).min();
        assert_eq!(fit, Some(resident), "{block:?}");
        HOPPER.limit(&block, resident, MANY)
    }

    #[test]
    fn each_resource_can_be_what_limits_a_kernel() {
        // The figures of NVIDIA's occupancy calculator for compute capability 9.0.
        assert_eq!(limit(256, 32, 0, 8), "threads");
        assert_eq!(limit(32, 32, 0, 32), "block slots");
        assert_eq!(limit(256, 64, 0, 4), "registers");
        assert_eq!(limit(128, 168, 0, 3), "registers");
        assert_eq!(limit(128, 32, 49_152, 4), "shared memory");
        assert_eq!(limit(256, 33, 0, 6), "registers"); // 33 registers take 40
    }

    #[test]
    fn a_launch_that_does_not_fill_the_gpu_is_limited_by_its_own_size() {
        let block = BlockNeeds { threads: 256, registers: 32, shared: 0 };
        assert_eq!(HOPPER.limit(&block, 8, (8 * 132 - 1, 132)), "too few blocks");
        assert_eq!(HOPPER.limit(&block, 8, (8 * 132, 132)), "threads");
    }

    #[test]
    fn a_device_that_counts_no_registers_is_not_limited_by_them() {
        let block = BlockNeeds { threads: 256, registers: 0, shared: 0 };
        assert_eq!(HOPPER.limit(&block, 8, MANY), "threads");
    }
}
