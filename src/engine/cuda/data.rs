//! The data set on a device: uploaded once for a task and shared by all its arrays.

use super::launch::trial::{Data, Samples};
use super::launch::{Buffer, CudaError, Stream};
use crate::data::{Part, Split};

/// What tells one split of one data set from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    fingerprint: String,
    training: usize,
    validation: usize,
}

impl Key {
    pub fn of(split: &Split) -> Self {
        Key {
            fingerprint: split.data().fingerprint.clone(),
            training: split.training().len(),
            validation: split.validation().len(),
        }
    }
}

/// Pixels and labels, as bytes, and the table that tells the kernels where they are.
pub struct DeviceData {
    training_samples: usize,
    _bytes: [Buffer<u8>; 4],
    pub table: Buffer<Data>,
}

impl DeviceData {
    /// Uploads samples of `inputs` pixels each.
    pub fn new(
        stream: &Stream,
        training: Part<'_>,
        validation: Part<'_>,
        inputs: usize,
        classes: usize,
    ) -> Result<Self, CudaError> {
        let bytes = |bytes: &[u8]| Buffer::from_slice(stream, bytes);
        let place = |pixels: &Buffer<u8>, labels: &Buffer<u8>, part: Part<'_>| Samples {
            pixels: pixels.address(),
            labels: labels.address(),
            count: part.len() as u32,
            pad: 0,
        };
        let [a, b] = [bytes(training.pixels)?, bytes(training.labels)?];
        let [c, d] = [bytes(validation.pixels)?, bytes(validation.labels)?];
        let data = Data {
            training: place(&a, &b, training),
            validation: place(&c, &d, validation),
            inputs: inputs as u32,
            classes: classes as u32,
        };
        Ok(DeviceData {
            training_samples: training.len(),
            _bytes: [a, b, c, d],
            table: Buffer::from_slice(stream, &[data])?,
        })
    }

    pub fn training_samples(&self) -> usize {
        self.training_samples
    }
}
