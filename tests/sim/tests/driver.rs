//! What the driver answers: graphs, counts, devices.

mod common;

use std::ffi::c_void;
use std::ptr::null_mut;

use common::{Device, nvrtc, skip};
use cuda::driver::{STREAM_CAPTURE_UNJOINED, device, graphs, launches, memory, state, streams};

const ADD_ONE: &str = ".version 8.0\n.target sm_80\n.address_size 64\n.global .align 4 .u32 word = 7;\n\
    .visible .entry add_one(.param .u64 p)\n{\n.reg .b32 %r<3>;\n.reg .b64 %rd<3>;\n\
    ld.param.u64 %rd1, [p];\nmov.u32 %r1, %tid.x;\nmad.wide.u32 %rd1, %r1, 4, %rd1;\n\
    ld.global.u32 %r2, [%rd1];\nadd.u32 %r2, %r2, 1;\nst.global.u32 [%rd1], %r2;\nret;\n}\n";

#[test]
fn a_captured_graph_runs_when_it_is_launched_and_not_before() {
    let device = Device::new(ADD_ONE, 80);
    let (mut stream, mut graph, mut executable) = (null_mut(), null_mut(), null_mut());
    let address = device.upload(&[0u32; 32]);
    let function = device.function("add_one");
    let mut arguments = [std::ptr::from_ref(&address) as *mut c_void];
    // SAFETY: places for handles; a pointer for the kernel's parameter.
    unsafe {
        assert_eq!(streams::cuStreamCreate(&mut stream, 1), 0);
        assert_eq!(graphs::cuStreamBeginCapture_v2(stream, 0), 0);
        assert_eq!(memory::cuMemsetD32Async(address, 40, 32, stream), 0);
        for _ in 0..2 {
            let params = arguments.as_mut_ptr();
            let status = launches::cuLaunchKernel(
                function,
                1,
                1,
                1,
                32,
                1,
                1,
                0,
                stream,
                params,
                null_mut(),
            );
            assert_eq!(status, 0);
        }
        assert_eq!(graphs::cuStreamEndCapture(stream, &mut graph), 0);
        assert_eq!(graphs::cuGraphInstantiateWithFlags(&mut executable, graph, 0), 0);
        assert_eq!(graphs::cuGraphDestroy(graph), 0);
    }
    assert_eq!(device.download::<u32>(address, 32), [0; 32]);
    for _ in 0..3 {
        assert_eq!(graphs::cuGraphLaunch(executable, stream), 0);
        assert_eq!(device.download::<u32>(address, 32), [42; 32]);
    }
    assert_eq!(graphs::cuGraphExecDestroy(executable), 0);
    assert_eq!(graphs::cuGraphLaunch(executable, stream), 400);
}

/// What a word holds after a graph that writes 1 to it, then 2 on the same stream and 3 on another, which
/// has waited for the 1.
fn written_last(joined: bool) -> Result<u32, i32> {
    let device = Device::new(ADD_ONE, 80);
    let (mut graph, mut executable) = (null_mut(), null_mut());
    let ([mut main, mut side], [mut one, mut three]) = ([null_mut(); 2], [null_mut(); 2]);
    let address = device.upload(&[0u32; 1]);
    let write = |stream, value| assert_eq!(memory::cuMemsetD32Async(address, value, 1, stream), 0);
    let record = |event, stream| assert_eq!(streams::cuEventRecord(event, stream), 0);
    let wait = |stream, event| assert_eq!(streams::cuStreamWaitEvent(stream, event, 0), 0);
    // SAFETY: places for handles.
    unsafe {
        for stream in [&mut main, &mut side] {
            assert_eq!(streams::cuStreamCreate(stream, 1), 0);
        }
        for event in [&mut one, &mut three] {
            assert_eq!(streams::cuEventCreate(event, 0), 0);
        }
        assert_eq!(graphs::cuStreamBeginCapture_v2(main, 0), 0);
        write(main, 1);
        record(one, main);
        wait(side, one);
        write(main, 2);
        write(side, 3);
        record(three, side);
        if joined {
            wait(main, three);
        }
        match graphs::cuStreamEndCapture(main, &mut graph) {
            0 => {}
            status => return Err(status),
        }
        assert_eq!(graphs::cuGraphInstantiateWithFlags(&mut executable, graph, 0), 0);
    }
    assert_eq!(graphs::cuGraphLaunch(executable, main), 0);
    Ok(device.download::<u32>(address, 1)[0])
}

#[test]
fn what_no_wait_orders_in_a_graph_runs_against_the_order_of_recording() {
    assert_eq!(written_last(true), Ok(2));
}

#[test]
fn a_capture_ends_only_when_every_stream_has_joined_it() {
    assert_eq!(written_last(false), Err(STREAM_CAPTURE_UNJOINED));
}

#[test]
fn counts_are_exact() {
    let device = Device::new(ADD_ONE, 80);
    let counts = || state::state().counts.get("add_one").copied().unwrap_or_default();
    let before = counts();
    let address = device.upload(&[0u32; 48]);
    assert_eq!(device.launch("add_one", 1, 48, 0, &[address]), 0);
    let after = counts();
    // Seven instructions; 48 threads are two warps, the second with 16 lanes.
    assert_eq!(after.launches - before.launches, 1);
    assert_eq!(after.thread_instructions - before.thread_instructions, 7 * 48);
    assert_eq!(after.warp_instructions - before.warp_instructions, 7 * 2);
    assert_eq!(after.global_requests - before.global_requests, 4);
    assert_eq!(after.global_sectors - before.global_sectors, 2 * (4 + 2));
}

#[test]
fn bank_conflicts_are_those_that_the_stride_makes() {
    let Some(nvrtc) = nvrtc() else { return skip("WARPSWEEP_NVRTC does not lead to NVRTC 13") };
    let source = r#"extern "C" __global__ void strided(float* out, int stride) {
        __shared__ float s[32 * 33];
        s[threadIdx.x * stride] = threadIdx.x;
        out[threadIdx.x] = s[threadIdx.x * stride];
    }"#;
    let device = Device::new(&nvrtc.compile(source, "strided.cu", 80), 80);
    let out = device.allocate(128);
    let conflicts = |stride: u64| {
        let counts = || state::state().counts.get("strided").copied().unwrap_or_default();
        let before = counts();
        assert_eq!(device.launch("strided", 1, 32, 0, &[out, stride]), 0);
        let after = counts();
        after.bank_conflicts - before.bank_conflicts
    };
    let found = [1, 2, 32, 33].map(conflicts);
    // The compiler may forward the stored value and leave out the load.
    let accesses = found[1];
    assert!(accesses == 1 || accesses == 2, "{found:?}");
    assert_eq!(found, [0, accesses, 31 * accesses, 0]);
}

#[test]
fn initial_values_of_variables_can_be_read_by_the_host() {
    let device = Device::new(ADD_ONE, 80);
    let (address, bytes) = device.global("word");
    assert_eq!(bytes, 4);
    assert_eq!(device.download::<u32>(address, 1), [7]);
}

#[test]
fn devices_are_as_many_as_the_environment_says() {
    let _device = Device::new(ADD_ONE, 80);
    let count = |devices: &str, visible: Option<&str>| {
        let mut count = -1;
        // SAFETY: the tests of this process that look at the environment hold the turn.
        unsafe {
            std::env::set_var("CUDA_SIM_DEVICES", devices);
            match visible {
                Some(visible) => std::env::set_var("CUDA_VISIBLE_DEVICES", visible),
                None => std::env::remove_var("CUDA_VISIBLE_DEVICES"),
            }
            assert_eq!(device::cuDeviceGetCount(&mut count), 0);
        }
        (count, device::cuInit(0))
    };
    assert_eq!(count("2", None), (2, 0));
    assert_eq!(count("2", Some("1")), (1, 0));
    assert_eq!(count("2", Some("")), (0, 100));
    assert_eq!(count("1", None), (1, 0));
}

#[test]
fn host_memory_that_was_pinned_is_ordinary_memory_once_it_is_freed() {
    let device = Device::new(ADD_ONE, 80);
    let address = device.allocate(4096);
    for bytes in [64usize, 1024, 4096] {
        let mut pinned = null_mut();
        // SAFETY: a place for a pointer.
        assert_eq!(unsafe { memory::cuMemHostAlloc(&mut pinned, bytes, 0) }, 0);
        assert_eq!(memory::cuMemFreeHost(pinned), 0);
        // The allocator is likely to give the same memory to this.
        let ordinary = vec![7u8; bytes];
        assert_eq!(memory::cuMemcpyHtoD_v2(address, ordinary.as_ptr().cast(), bytes), 0);
        assert_eq!(device.download::<u8>(address, bytes), ordinary);
    }
    assert_eq!(device.reports(), "");
}
