//! Planted bugs are caught: the right kind, in the right kernel, on the right line.

mod common;

use std::ptr::null_mut;

use common::{Device, nvrtc, skip};
use cuda::driver::{device, launches, memory, modules};

const SOURCE: &str = include_str!("kernels/bugs.cu");

/// What a test gives its kernel.
struct Case {
    kernel: &'static str,
    kind: &'static str,
    grid: u32,
    block: u32,
    shared: u32,
    arguments: Vec<u64>,
}

/// Runs one kernel on the device of each architecture, and looks what is reported.
fn caught(archs: &[u32], case: impl Fn(&Device) -> Case) {
    let Some(nvrtc) = nvrtc() else { return skip("WARPSWEEP_NVRTC does not lead to NVRTC 13") };
    for &arch in archs {
        let device = Device::new(&nvrtc.compile(SOURCE, "bugs.cu", arch), arch);
        let Case { kernel, kind, grid, block, shared, arguments } = case(&device);
        let status = device.launch(kernel, grid, block, shared, &arguments);
        assert!(matches!(status, 700 | 716 | 719), "{kernel} on sm_{arch}: status {status}");
        let marker = format!("// BUG {kernel}");
        let lines = (1..).zip(SOURCE.lines()).filter(|(_, text)| text.ends_with(&marker));
        let reports = device.reports();
        let on_line = |line: u32| {
            let expected =
                format!("simulated device: {kind}: kernel {kernel} at bugs.cu:{line}, block (");
            reports.starts_with(&expected)
        };
        assert!(
            lines.map(|(line, _)| line).any(on_line),
            "on sm_{arch}, {kind} in {kernel} was expected: {reports}"
        );
        assert_eq!(reports.lines().count(), 1, "{reports}");
        // The error stays, as on a device.
        assert_eq!(device::cuCtxSynchronize(), status);
    }
}

const ALL: &[u32] = &[75, 80, 90];
const COPYING: &[u32] = &[80, 90];
/// With products that go on by themselves.
const HOPPER: &[u32] = &[90];

/// A kernel that takes an output of `floats` words, which hold zeros, and a number.
fn on_output(
    kernel: &'static str,
    kind: &'static str,
    [grid, block, shared]: [u32; 3],
    floats: usize,
    n: u64,
) -> impl Fn(&Device) -> Case {
    move |device| {
        let arguments = vec![device.upload(&vec![0u32; floats]), n];
        Case { kernel, kind, grid, block, shared, arguments }
    }
}

/// A kernel that reads `floats` numbers and writes 64.
fn on_input(kernel: &'static str, kind: &'static str, floats: usize) -> impl Fn(&Device) -> Case {
    move |device| {
        let arguments = vec![device.upload(&vec![1f32; floats]), device.allocate(256), 32];
        Case { kernel, kind, grid: 1, block: 32, shared: 0, arguments }
    }
}

#[test]
fn reads_past_the_end_of_global_memory() {
    caught(ALL, on_input("global_read_past_end", "out of bounds", 32));
}

#[test]
fn writes_past_the_end_of_global_memory() {
    caught(ALL, on_output("global_write_past_end", "out of bounds", [1, 64, 0], 32, 32));
}

#[test]
fn writes_where_there_is_no_memory() {
    caught(ALL, on_output("wild_pointer", "out of bounds", [1, 32, 0], 32, 32));
}

#[test]
fn reads_past_the_end_of_shared_memory() {
    caught(ALL, on_output("shared_read_past_end", "out of bounds", [1, 32, 0], 32, 1));
}

#[test]
fn writes_past_the_end_of_dynamic_shared_memory() {
    caught(ALL, on_output("shared_write_past_end", "out of bounds", [1, 32, 128], 32, 1));
}

#[test]
fn reads_past_the_end_of_local_memory() {
    caught(ALL, on_output("local_past_end", "out of bounds", [1, 1, 0], 32, 8));
}

#[test]
fn uses_freed_memory() {
    caught(ALL, |device| {
        let case = on_input("freed", "use of freed memory", 32)(device);
        assert_eq!(memory::cuMemFree_v2(case.arguments[0]), 0);
        case
    });
}

#[test]
fn reads_global_memory_never_written() {
    caught(ALL, |device| {
        let mut case = on_input("global_unwritten", "read of memory never written", 32)(device);
        case.arguments[0] = device.allocate(128);
        case
    });
}

#[test]
fn reads_shared_memory_never_written() {
    caught(ALL, on_output("shared_unwritten", "read of memory never written", [1, 64, 0], 64, 0));
}

#[test]
fn reads_local_memory_never_written() {
    caught(ALL, on_output("local_unwritten", "read of memory never written", [1, 1, 0], 64, 3));
}

#[test]
fn reads_registers_never_written() {
    let kind = "read of a register never written";
    for kernel in ["register_unwritten", "register_of_some_lanes", "predicate_unwritten"] {
        caught(ALL, on_output(kernel, kind, [1, 32, 0], 64, 0));
    }
}

#[test]
fn threads_race_in_shared_memory() {
    caught(ALL, on_output("shared_race", "race in shared memory", [1, 64, 0], 64, 0));
}

#[test]
fn lanes_race_in_shared_memory() {
    caught(ALL, on_output("warp_race", "race in shared memory", [1, 32, 0], 64, 0));
}

#[test]
fn shared_memory_is_overwritten_while_others_read() {
    caught(ALL, on_output("shared_overwritten", "race in shared memory", [1, 64, 0], 64, 2));
}

#[test]
fn blocks_race_in_global_memory() {
    caught(ALL, on_output("blocks_race", "race in global memory", [3, 32, 0], 64, 0));
}

#[test]
fn one_of_many_readers_writes() {
    caught(ALL, on_output("many_read_one_writes", "race in global memory", [3, 32, 0], 64, 0));
}

#[test]
fn a_writer_waits_for_one_of_its_readers() {
    let kind = "race in global memory";
    caught(ALL, on_output("writer_waits_for_one_reader", kind, [3, 32, 0], 64, 0));
}

#[test]
fn blocks_sum_without_atomics() {
    caught(ALL, on_output("sum_without_atomics", "race in global memory", [3, 32, 0], 64, 0));
}

#[test]
fn threads_of_a_block_race_in_global_memory() {
    caught(ALL, on_output("threads_race", "race in global memory", [1, 64, 0], 128, 0));
}

#[test]
fn a_flag_is_raised_without_a_fence() {
    caught(ALL, on_output("flag_without_fence", "race in global memory", [2, 32, 0], 64, 0));
}

#[test]
fn a_barrier_stands_in_a_branch() {
    let kind = "barrier not reached by all threads";
    caught(ALL, on_output("barrier_in_branch", kind, [1, 64, 0], 64, 16));
}

#[test]
fn a_barrier_comes_after_warps_have_left() {
    let kind = "barrier not reached by all threads";
    caught(ALL, on_output("barrier_after_exit", kind, [1, 64, 0], 128, 16));
}

#[test]
fn a_shuffle_lacks_lanes() {
    caught(ALL, on_output("shuffle_with_absent_lanes", "absent lanes", [1, 32, 0], 64, 16));
}

#[test]
fn a_vote_lacks_lanes() {
    caught(ALL, on_output("vote_with_absent_lanes", "absent lanes", [1, 32, 0], 64, 16));
}

#[test]
fn an_access_is_misaligned() {
    caught(ALL, on_output("misaligned", "misaligned access", [1, 32, 0], 64, 0));
}

#[test]
fn a_kernel_traps() {
    caught(ALL, on_output("fails_assertion", "trap", [1, 32, 0], 64, 32));
}

#[test]
fn copied_data_is_read_before_its_wait() {
    caught(COPYING, on_input("copy_without_wait", "cp.async data used before its wait", 128));
}

#[test]
fn copied_data_is_read_by_others_without_a_barrier() {
    caught(COPYING, on_input("copy_without_barrier", "race in shared memory", 128));
}

#[test]
fn a_copy_reads_past_the_end() {
    caught(COPYING, on_input("copy_past_end", "out of bounds", 128));
}

/// Launches that are refused before they run: the device goes on working.
#[test]
fn wrong_launches_are_refused() {
    let Some(nvrtc) = nvrtc() else { return skip("WARPSWEEP_NVRTC does not lead to NVRTC 13") };
    let source = r#"extern "C" __global__ void __launch_bounds__(64) k(float* out, int n) { out[threadIdx.x] = n; }"#;
    let device = Device::new(&nvrtc.compile(source, "k.cu", 80), 80);
    let out = device.allocate(256);
    let k = device.function("k");
    let refused = |status: i32, what: &str| {
        assert_eq!(status, 1, "{what}");
        let reports = device.reports();
        assert!(
            reports.lines().last().is_some_and(|line| line.contains(what)),
            "{what}: {reports}"
        );
    };
    refused(
        device.launch("k", 1, 65, 0, &[out, 1]),
        "65 threads a block, its launch bounds allow 64",
    );
    refused(device.launch("k", 0, 64, 0, &[out, 1]), "have a zero");
    refused(device.launch("k", 1, 0, 0, &[out, 1]), "have a zero");
    refused(
        device.launch("k", 1, 64, 50_000, &[out, 1]),
        "50000 bytes of dynamic shared memory, 49152",
    );
    let (pointer_tag, size_tag) = (1usize, 2usize);
    let packed = |mut size: usize| {
        let buffer = [out, 7];
        let mut extra = [
            pointer_tag as *mut _,
            buffer.as_ptr() as *mut _,
            size_tag as *mut _,
            std::ptr::from_mut(&mut size).cast(),
            null_mut(),
        ];
        let (params, extra) = (null_mut(), extra.as_mut_ptr());
        // SAFETY: a list as the driver's manual describes it.
        unsafe { launches::cuLaunchKernel(k, 1, 1, 1, 64, 1, 1, 0, null_mut(), params, extra) }
    };
    refused(packed(16), "16 bytes of arguments are given, 12 are expected");
    let mut missing = [std::ptr::from_ref(&out) as *mut _, null_mut()];
    // SAFETY: a list with a null where a pointer belongs.
    let status = unsafe {
        launches::cuLaunchKernel(
            k,
            1,
            1,
            1,
            64,
            1,
            1,
            0,
            null_mut(),
            missing.as_mut_ptr(),
            null_mut(),
        )
    };
    refused(status, "argument 1 of 2 is missing");
    assert_eq!(packed(12), 0);
    assert_eq!(device.download::<f32>(out, 64), [7.0; 64]);
}

#[test]
fn an_unknown_opcode_is_named() {
    let ptx = ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k()\n{\n .reg .b32 %r<3>;\n frobnicate.b32 %r1, %r2;\n ret;\n}\n";
    let mut module = null_mut();
    let text = std::ffi::CString::new(ptx).expect("no NUL in PTX");
    let trivial =
        ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k()\n{\n ret;\n}\n";
    let device = Device::new(trivial, 80);
    // SAFETY: a place for a handle; a text that ends in a NUL.
    let status = unsafe { modules::cuModuleLoadData(&mut module, text.as_ptr().cast()) };
    assert_eq!(status, 218);
    assert!(
        device.reports().contains("opcode `frobnicate.b32` is unknown"),
        "{}",
        device.reports()
    );
}

#[test]
fn a_cubin_is_refused() {
    let trivial =
        ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k()\n{\n ret;\n}\n";
    let _device = Device::new(trivial, 80);
    let mut module = null_mut();
    // SAFETY: a place for a handle; an image that begins as a cubin does.
    let status =
        unsafe { modules::cuModuleLoadData(&mut module, c"\x7fELF\x02\x01\x01".as_ptr().cast()) };
    assert_eq!(status, 209);
}

#[test]
fn memory_runs_out_where_the_device_says() {
    let trivial =
        ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k()\n{\n ret;\n}\n";
    let _device = Device::new(trivial, 80);
    let mut address = 0;
    // SAFETY: a place for an address.
    assert_eq!(unsafe { memory::cuMemAlloc_v2(&mut address, 9 << 30) }, 2);
}

#[test]
fn products_that_go_on_by_themselves_without_a_fence_before_them() {
    let kernel = "product_without_fence";
    caught(HOPPER, on_output(kernel, "wgmma without a fence before it", [1, 128, 0], 128, 1));
    let kernel = "product_without_proxy_fence";
    caught(HOPPER, on_output(kernel, "wgmma without a fence before it", [1, 128, 0], 128, 1));
}

#[test]
fn sums_and_factors_of_products_that_nobody_waited_for() {
    let kind = "wgmma operand or result used before its wait";
    caught(HOPPER, on_output("product_without_wait", kind, [1, 128, 0], 128, 1));
    caught(HOPPER, on_output("product_of_what_changes", kind, [1, 128, 0], 128, 1));
}

#[test]
fn shared_memory_overwritten_while_a_product_reads_it() {
    let kernel = "product_of_overwritten_lines";
    caught(HOPPER, on_output(kernel, "race in shared memory", [1, 128, 0], 128, 1));
}

#[test]
fn swizzled_lines_that_do_not_begin_where_the_swizzle_does() {
    let kernel = "product_of_shifted_lines";
    caught(HOPPER, on_output(kernel, "misaligned access", [1, 128, 0], 128, 1));
}

#[test]
fn products_in_blocks_that_are_no_whole_warpgroups() {
    let kernel = "product_of_half_a_group";
    caught(HOPPER, on_output(kernel, "absent lanes", [1, 64, 0], 128, 1));
}
