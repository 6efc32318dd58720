//! The NVIDIA driver: whether it is here, how new it is, which GPUs it shows.

use cudarc::driver::sys::{self, CUdevice_attribute as Attribute};
use cudarc::driver::{DriverError, result};

use super::CudaError;

/// The CUDA version of the oldest driver whose functions we call, as `cuDriverGetVersion` counts.
const NEEDED: i32 = 12080;

/// The driver, loaded and initialised: to have one is to be allowed to call it.
#[derive(Clone, Copy, Debug)]
pub struct Driver {
    version: i32,
    gpus: usize,
}

/// A GPU as its driver describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpu {
    /// Its place among the GPUs that the driver shows: N of `--device cuda:N`.
    pub ordinal: usize,
    pub name: String,
    /// `GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`, as nvidia-smi writes it.
    pub uuid: String,
    /// `domain:bus:device.0`, in hexadecimal.
    pub pci: String,
    /// Compute capability: 90 for 9.0.
    pub capability: u32,
    pub multiprocessors: usize,
    /// Bytes of device memory.
    pub memory: usize,
    /// Most bytes of shared memory that a block can opt in to.
    pub shared_memory: usize,
}

impl Driver {
    /// Loads and initialises the driver.
    ///
    /// # Errors
    /// [`CudaError::NoDriver`], [`CudaError::DriverTooOld`], [`CudaError::NoGpu`], or what the driver
    /// says of itself.
    pub fn load() -> Result<Driver, CudaError> {
        let version = Self::version_here()?;
        if version < NEEDED {
            let what = "this program".to_owned();
            return Err(CudaError::DriverTooOld {
                found: version,
                needed: NEEDED,
                what,
                release: release(NEEDED),
            });
        }
        match result::init() {
            Err(DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE)) => return Err(CudaError::NoGpu),
            other => other.map_err(CudaError::of("cuInit"))?,
        }
        match result::device::get_count().map_err(CudaError::of("cuDeviceGetCount"))? {
            count @ 1.. => Ok(Driver { version, gpus: count as usize }),
            _ => Err(CudaError::NoGpu),
        }
    }

    /// The CUDA version that the driver here supports, whether or not it is new enough.
    pub fn version_here() -> Result<i32, CudaError> {
        // SAFETY: loading the driver's library runs its initialisers, and nothing else of it.
        if !unsafe { sys::is_culib_present() } {
            return Err(CudaError::NoDriver);
        }
        let mut version = 0;
        // SAFETY: the library is there, every driver has this function, and it needs no cuInit.
        unsafe { sys::cuDriverGetVersion(&mut version) }
            .result()
            .map_err(CudaError::of("cuDriverGetVersion"))?;
        Ok(version)
    }

    /// The CUDA version that it supports: 13000 for 13.0.
    pub fn version(&self) -> i32 {
        self.version
    }

    /// How many GPUs it shows: at least one.
    pub fn gpus(&self) -> usize {
        self.gpus
    }

    /// What the driver says of a GPU; no context is made on it.
    pub fn gpu(&self, ordinal: usize) -> Result<Gpu, CudaError> {
        if ordinal >= self.gpus {
            return Err(CudaError::NoSuchGpu { ordinal, count: self.gpus });
        }
        let device = result::device::get(ordinal as i32).map_err(CudaError::of("cuDeviceGet"))?;
        let attribute = |attribute: Attribute| {
            // SAFETY: the device was just given to us by the driver.
            unsafe { result::device::get_attribute(device, attribute) }
                .map(|value| value.max(0) as u32)
                .map_err(CudaError::of("cuDeviceGetAttribute"))
        };
        let uuid =
            result::device::get_uuid(device).map_err(CudaError::of("cuDeviceGetUuid"))?.bytes;
        // SAFETY: as above.
        let memory = unsafe { result::device::total_mem(device) };
        let capability = 10 * attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?
            + attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        Ok(Gpu {
            ordinal,
            name: result::device::get_name(device).map_err(CudaError::of("cuDeviceGetName"))?,
            uuid: uuid_text(uuid.map(|byte| byte as u8)),
            pci: format!(
                "{:08x}:{:02x}:{:02x}.0",
                attribute(Attribute::CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID)?,
                attribute(Attribute::CU_DEVICE_ATTRIBUTE_PCI_BUS_ID)?,
                attribute(Attribute::CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID)?,
            ),
            capability,
            multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?
                as usize,
            memory: memory.map_err(CudaError::of("cuDeviceTotalMem"))?,
            shared_memory: attribute(
                Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
            )? as usize,
        })
    }
}

impl Gpu {
    /// Whether it is the simulated device of the tests, which runs PTX only and which `auto` never
    /// takes. It says so by its name.
    pub fn is_simulated(&self) -> bool {
        self.name.starts_with("simulated")
    }
}

/// `13.0` for 13000.
pub fn version(number: i32) -> String {
    format!("{}.{}", number / 1000, number % 1000 / 10)
}

/// The first driver release that supports a CUDA version.
pub fn release(version: i32) -> &'static str {
    match version {
        ..=12080 => "driver 570 or later",
        12081..=13000 => "driver 580 or later",
        _ => "the newest driver",
    }
}

fn uuid_text(bytes: [u8; 16]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let [a, b, c, d, e] = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    format!("GPU-{a}-{b}-{c}-{d}-{e}")
}
