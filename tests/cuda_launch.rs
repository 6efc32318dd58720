//! The launch layer on a GPU or the simulated device: compilation, memory, launches, graphs.
#![allow(unsafe_code)] // launches kernels of its own, whose arguments it knows

mod common;

use bytemuck::{Pod, Zeroable};
use common::cuda::{gpu, nvrtc};
use std::mem::offset_of;
use warpsweep::engine::cuda::launch::{
    Buffer, CudaError, DeviceStruct, Function, Pinned, Shape, Stream, Target, arg, launch,
};
use warpsweep::engine::cuda::program::{Program, all};

/// `y[i] = factor * x[i] + y[i]` for i below n, and the layout of a struct.
const AXPY: Program<'static> = Program {
    name: "axpy.cu",
    source: r#"
#include "pair.cuh"
extern "C" __global__ void axpy(unsigned int n, float factor, const float *x, float *y)
{
    const unsigned int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = factor * x[i] + y[i];
}
extern "C" __device__ const unsigned int Pair_layout[] = {
    sizeof(Pair), offsetof(Pair, small), offsetof(Pair, large)};
"#,
    headers: &[(
        "pair.cuh",
        "#define offsetof(type, field) ((unsigned int)__INTADDR__(&((type *)0)->field))
\
         struct Pair { unsigned int small, pad; unsigned long long large; };
",
    )],
};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Pair {
    small: u32,
    pad: u32,
    large: u64,
}

impl DeviceStruct for Pair {
    const NAME: &'static str = "Pair";
    const LAYOUT: &'static [u32] =
        &[size_of::<Self>() as u32, offset_of!(Pair, small) as u32, offset_of!(Pair, large) as u32];
}

/// What a careless change of one side would make of it.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Swapped {
    large: u64,
    small: u32,
    pad: u32,
}

impl DeviceStruct for Swapped {
    const NAME: &'static str = "Pair";
    const LAYOUT: &'static [u32] = &[
        size_of::<Self>() as u32,
        offset_of!(Swapped, small) as u32,
        offset_of!(Swapped, large) as u32,
    ];
}

fn axpy(stream: &Stream, function: &Function, factor: f32, x: &Buffer<f32>, y: &Buffer<f32>) {
    let (n, x, y) = (y.len() as u32, x.address(), y.address());
    let args = [arg(&n), arg(&factor), arg(&x), arg(&y)];
    // SAFETY: the kernel takes these, and both buffers hold n values.
    unsafe { launch(stream, function, Shape::line(n.div_ceil(128), 128), &args) }
        .expect("a launch");
}

#[test]
fn values_come_back_from_the_device_as_they_went() {
    let Some(gpu) = gpu() else { return };
    let values: Vec<u32> = (0..1000).map(|i| i * i).collect();
    let mut buffer = Buffer::from_slice(&gpu.stream, &values).unwrap();
    assert_eq!(buffer.download().unwrap(), values);
    assert_eq!(buffer.download_range(10..13).unwrap(), [100, 121, 144]);
    assert_eq!(buffer.address() % 16, 0);
    assert_eq!(buffer.address_of(5), buffer.address() + 20);
    buffer.upload(998, &[7, 8]).unwrap();
    assert_eq!(buffer.download_range(997..1000).unwrap(), [997 * 997, 7, 8]);
    buffer.clear().unwrap();
    assert_eq!(buffer.download().unwrap(), vec![0; 1000]);
    assert_eq!(Buffer::<f64>::zeroed(&gpu.stream, 33).unwrap().download().unwrap(), [0.0; 33]);
    let empty = Buffer::<u8>::from_slice(&gpu.stream, &[]).unwrap();
    assert!(empty.is_empty() && empty.download().unwrap().is_empty());
}

#[test]
fn pinned_memory_is_read_when_the_copy_is_done() {
    let Some(gpu) = gpu() else { return };
    let mut there = Pinned::<f32>::zeroed(&gpu.stream, 300).unwrap();
    there.values_mut().unwrap().iter_mut().enumerate().for_each(|(i, value)| *value = i as f32);
    let mut buffer = Buffer::<f32>::zeroed(&gpu.stream, 300).unwrap();
    buffer.receive(&there).unwrap();
    let mut back = Pinned::<f32>::zeroed(&gpu.stream, 200).unwrap();
    buffer.send(&mut back).unwrap();
    assert_eq!(back.values().unwrap(), &there.values().unwrap()[..200]);
}

#[test]
fn a_launched_kernel_computes() {
    let Some(gpu) = gpu() else { return };
    let module = gpu.compiler.module(&gpu.device, &AXPY).unwrap();
    let function = module.function("axpy").unwrap();
    for n in [1, 127, 128, 1000] {
        let values: Vec<f32> = (0..n).map(|i| i as f32).collect();
        let x = Buffer::from_slice(&gpu.stream, &values).unwrap();
        let y = Buffer::zeroed(&gpu.stream, n).unwrap();
        axpy(&gpu.stream, &function, 2.0, &x, &y);
        axpy(&gpu.stream, &function, 0.5, &x, &y);
        let expected: Vec<f32> = values.iter().map(|value| 2.5 * value).collect();
        assert_eq!(y.download().unwrap(), expected);
    }
}

#[test]
fn an_empty_grid_launches_nothing() {
    let Some(gpu) = gpu() else { return };
    let module = gpu.compiler.module(&gpu.device, &AXPY).unwrap();
    let empty = Buffer::<f32>::zeroed(&gpu.stream, 0).unwrap();
    axpy(&gpu.stream, &module.function("axpy").unwrap(), 2.0, &empty, &empty);
    gpu.stream.synchronize().unwrap();
}

#[test]
fn a_graph_runs_its_launches_each_time_with_the_memory_as_it_is_then() {
    let Some(gpu) = gpu() else { return };
    let module = gpu.compiler.module(&gpu.device, &AXPY).unwrap();
    let function = module.function("axpy").unwrap();
    let mut x = Buffer::from_slice(&gpu.stream, &[1.0, 2.0, 3.0]).unwrap();
    let y = Buffer::<f32>::zeroed(&gpu.stream, 3).unwrap();
    let graph = gpu.stream.capture::<CudaError>(|| {
        axpy(&gpu.stream, &function, 1.0, &x, &y);
        axpy(&gpu.stream, &function, 10.0, &x, &y);
        Ok(())
    });
    let graph = graph.unwrap();
    assert_eq!(y.download().unwrap(), [0.0; 3], "recording runs nothing");
    graph.launch().unwrap();
    graph.launch().unwrap();
    assert_eq!(y.download().unwrap(), [22.0, 44.0, 66.0]);
    x.upload(0, &[0.0, 0.0, 1.0]).unwrap();
    graph.launch().unwrap();
    assert_eq!(y.download().unwrap(), [22.0, 44.0, 77.0]);
}

#[test]
fn a_capture_that_fails_leaves_the_stream_usable() {
    let Some(gpu) = gpu() else { return };
    let failed = gpu.stream.capture(|| Err(CudaError::NoGpu));
    assert!(matches!(failed, Err(CudaError::NoGpu)));
    let buffer = Buffer::from_slice(&gpu.stream, &[5u8]).unwrap();
    assert_eq!(buffer.download().unwrap(), [5]);
}

#[test]
fn events_tell_when_work_is_done() {
    let Some(gpu) = gpu() else { return };
    let (before, other) = (gpu.stream.event().unwrap(), gpu.device.stream().unwrap());
    let buffer = Buffer::from_slice(&gpu.stream, &[1u32; 100]).unwrap();
    let after = gpu.stream.event().unwrap();
    other.wait(&after).unwrap();
    after.synchronize().unwrap();
    assert!(before.is_past().unwrap() && after.is_past().unwrap());
    assert!(before.seconds_until(&after).unwrap() >= 0.0);
    assert_eq!(buffer.download().unwrap(), [1; 100]);
}

#[test]
fn a_struct_laid_out_otherwise_than_on_the_host_is_refused() {
    let Some(gpu) = gpu() else { return };
    let module = gpu.compiler.module(&gpu.device, &AXPY).unwrap();
    module.check_layout::<Pair>().unwrap();
    let error = module.check_layout::<Swapped>().unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, CudaError::Layout { .. }), "{message}");
    assert!(message.contains("axpy.cu") && message.contains("[16, 0, 8]"), "{message}");
    assert!(message.contains("[16, 8, 0]") && !message.contains('\n'), "{message}");
}

#[test]
fn a_missing_kernel_is_named() {
    let Some(gpu) = gpu() else { return };
    let module = gpu.compiler.module(&gpu.device, &AXPY).unwrap();
    let error = module.function("saxpy").unwrap_err().to_string();
    assert!(error.contains("axpy.cu has no saxpy"), "{error}");
}

#[test]
fn too_large_an_allocation_is_told_apart_from_other_failures() {
    let Some(gpu) = gpu() else { return };
    let bytes = 4 * gpu.device.gpu().memory;
    let error = Buffer::<u8>::unset(&gpu.stream, bytes).unwrap_err();
    assert!(error.is_out_of_memory(), "{error}");
    assert!(error.to_string().contains(&bytes.to_string()), "{error}");
    let still = Buffer::from_slice(&gpu.stream, &[1.5f32]).unwrap();
    assert_eq!(still.download().unwrap(), [1.5]);
}

#[test]
fn a_gpu_that_is_not_there_is_refused_by_number() {
    let Some(gpu) = gpu() else { return };
    let error = gpu.driver.gpu(1000).unwrap_err().to_string();
    assert!(error.contains("no GPU 1000"), "{error}");
}

#[test]
fn a_failed_compilation_shows_kernel_architecture_and_the_whole_log() {
    let Some(nvrtc) = nvrtc() else { return };
    let source = "extern \"C\" __global__ void broken(float *x)\n{\n    *x = nonsense;\n    int y = *z;\n}\n";
    let program = Program { name: "broken.cu", source, headers: &[] };
    let error = nvrtc.compile(&program, Target::Cubin(90), &[]).unwrap_err().to_string();
    for part in ["kernel broken.cu", "sm_90", "broken.cu(3)", "nonsense", "broken.cu(4)", "\"z\""] {
        assert!(error.contains(part), "{part} in {error}");
    }
}

#[test]
fn compiled_code_is_what_was_asked_for_and_the_same_each_time() {
    let Some(nvrtc) = nvrtc() else { return };
    let cubin = nvrtc.compile(&AXPY, Target::Cubin(80), &["--ptxas-options=-v"]).unwrap();
    assert!(cubin.image.starts_with(b"\x7fELF"));
    assert!(cubin.log.contains("registers"), "{}", cubin.log);
    let ptx = nvrtc.compile(&AXPY, Target::Ptx(80), &[]).unwrap();
    assert!(ptx.image.ends_with(&[0]) && ptx.log.is_empty(), "{}", ptx.log);
    let text = String::from_utf8_lossy(&ptx.image);
    assert!(text.contains(".target sm_80") && text.contains("Pair_layout"), "{text}");
    assert_eq!(nvrtc.compile(&AXPY, Target::Ptx(80), &[]).unwrap().image, ptx.image);
}

#[test]
fn every_embedded_kernel_file_can_be_named() {
    let names: Vec<&str> = all().map(|program| program.name).collect();
    assert!(names.contains(&"sgd_bias.cu"), "{names:?}");
    // Its kernels stand in the file itself or, where files are sizes of one kernel, in a header.
    let included = |program: &Program<'_>, name: &str| {
        program.source.contains(&format!("#include \"{name}\""))
    };
    assert!(all().all(|program| {
        let mut headers = program.headers.iter();
        program.source.contains("__global__")
            || headers.any(|(name, text)| included(&program, name) && text.contains("__global__"))
    }));
    assert!(all().all(|program| program.headers.iter().any(|(name, _)| *name == "step.cuh")));
}
