//! Kernels without fault run, give the right values, and raise nothing.

mod common;

use common::{Device, nvrtc, skip};

const SOURCE: &str = include_str!("kernels/clean.cu");

/// Runs a test on the device of each architecture, and looks that nothing was reported.
fn on_each(archs: &[u32], test: impl Fn(&Device)) {
    let Some(nvrtc) = nvrtc() else { return skip("WARPSWEEP_NVRTC does not lead to NVRTC 13") };
    for &arch in archs {
        let device = Device::new(&nvrtc.compile(SOURCE, "clean.cu", arch), arch);
        test(&device);
        assert_eq!(device.reports(), "", "on sm_{arch}");
    }
}

const ALL: [u32; 3] = [75, 80, 90];

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 + 11) % 101) as f32 / 32.0 - 1.5).collect()
}

#[test]
fn vectors_are_added() {
    on_each(&ALL, |device| {
        let (a, b) = (numbers(1000), numbers(2000)[1000..].to_vec());
        let (at_a, at_b, at_c) = (device.upload(&a), device.upload(&b), device.allocate(4000));
        assert_eq!(device.launch("vector_add", 8, 128, 0, &[at_a, at_b, at_c, 1000]), 0);
        let expected: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
        assert_eq!(device.download::<f32>(at_c, 1000), expected);
    });
}

#[test]
fn blocks_reduce_through_shuffles_and_shared_memory() {
    on_each(&ALL, |device| {
        let values = numbers(3 * 777);
        let (input, output) = (device.upload(&values), device.allocate(12));
        assert_eq!(device.launch("reduce", 3, 256, 0, &[input, output, 777]), 0);
        for (sum, part) in device.download::<f32>(output, 3).into_iter().zip(values.chunks(777)) {
            let expected: f32 = part.iter().sum();
            assert!((sum - expected).abs() < 1e-3, "{sum} {expected}");
        }
    });
}

#[test]
fn a_warp_exchanges_through_shared_memory_between_warp_barriers() {
    on_each(&ALL, |device| {
        let output = device.allocate(128);
        assert_eq!(device.launch("warp_exchange", 1, 32, 0, &[output]), 0);
        let expected: Vec<i32> = (0..32).map(|lane| 31 - lane + 2).collect();
        assert_eq!(device.download::<i32>(output, 32), expected);
    });
}

#[test]
fn a_tiled_product_is_right() {
    on_each(&ALL, |device| {
        let n = 64;
        let (a, b) = (numbers(n * n), numbers(2 * n * n)[n * n..].to_vec());
        let (at_a, at_b, at_c) = (device.upload(&a), device.upload(&b), device.allocate(4 * n * n));
        assert_eq!(device.launch("gemm", 16, 256, 2048, &[at_a, at_b, at_c, n as u64]), 0);
        let c = device.download::<f32>(at_c, n * n);
        for (i, &found) in c.iter().enumerate() {
            let terms = (0..n).map(|k| f64::from(a[i / n * n + k]) * f64::from(b[k * n + i % n]));
            let expected: f64 = terms.sum();
            assert!((f64::from(found) - expected).abs() < 1e-4, "{i}: {found} {expected}");
        }
    });
}

#[test]
fn blocks_that_wait_for_each_other_come_to_an_end() {
    on_each(&ALL, |device| {
        let (done, total) = (device.allocate(400), device.allocate(4));
        assert_eq!(device.launch("queue", 8, 64, 0, &[done, 100, total]), 0);
        assert_eq!(device.download::<u32>(total, 1), [(0..100).map(|i| i * i).sum::<u32>()]);
    });
}

#[test]
fn philox_gives_its_known_answer() {
    on_each(&ALL, |device| {
        let output = device.allocate(16 * 32);
        assert_eq!(device.launch("philox", 1, 32, 0, &[output, 0]), 0);
        let first = device.download::<u32>(output, 4);
        assert_eq!(first, [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
    });
}

#[test]
fn functions_that_nvrtc_writes_out_are_as_near_as_documented() {
    on_each(&ALL, |device| {
        let values: Vec<f32> = numbers(64).iter().map(|x| x * 2.0).collect();
        let (input, output) = (device.upload(&values), device.allocate(4 * 64 * 8));
        assert_eq!(device.launch("functions", 1, 64, 0, &[input, output, 64]), 0);
        let found = device.download::<f32>(output, 64 * 8);
        for (i, &x) in values.iter().enumerate() {
            let x = f64::from(x);
            let expected = [
                libm::erf(x),
                x.exp(),
                x.tanh(),
                (f64::from(values[i].abs() + 0.1)).ln(),
                x.sin(),
                x / 3.0,
                x.abs().sqrt(),
                (x * 1e6).sin(),
            ];
            for (function, expected) in expected.into_iter().enumerate() {
                let found = f64::from(found[function * 64 + i]);
                let error = (found - expected).abs();
                assert!(
                    error < 4e-7 * expected.abs().max(0.3),
                    "function {function} of {x}: {found} {expected}"
                );
            }
        }
    });
}

#[test]
fn lanes_that_part_meet_again() {
    on_each(&ALL, |device| {
        let output = device.upload(&[0i32; 64]);
        assert_eq!(device.launch("divergence", 1, 64, 0, &[output, 50]), 0);
        let expected: Vec<i32> = (0..64)
            .map(|i| {
                if i >= 50 {
                    return 0;
                }
                let (mut x, mut steps) = (i + 1, 0);
                while x != 1 {
                    x = if x % 2 != 0 { 3 * x + 1 } else { x / 2 };
                    steps += 1;
                }
                match i % 5 {
                    0 => steps + 100,
                    1 => steps * 2,
                    2 if i % 3 == 0 => -1,
                    2 => steps + 7,
                    3 => steps - 1,
                    _ => -steps,
                }
            })
            .collect();
        assert_eq!(device.download::<i32>(output, 64), expected);
    });
}

#[test]
fn a_matrix_instruction_multiplies_what_asynchronous_copies_brought() {
    on_each(&[80, 90], |device| {
        let (a, mut b) = (numbers(128), numbers(64));
        let (at_a, at_b, at_c) = (device.upload(&a), device.upload(&b), device.allocate(512));
        assert_eq!(device.launch("tensor", 1, 32, 0, &[at_a, at_b, at_c]), 0);
        b[60..].fill(0.0);
        for (i, &found) in device.download::<f32>(at_c, 128).iter().enumerate() {
            let expected: f32 = (0..8).map(|k| a[i / 8 * 8 + k] * b[k * 8 + i % 8]).sum();
            assert!((found - expected).abs() < 1e-4, "{i}: {found} {expected}");
        }
    });
}

#[test]
fn the_last_block_sees_what_all_blocks_have_left() {
    on_each(&ALL, |device| {
        let values = numbers(64 * 9);
        let (input, parts, out) = (device.upload(&values), device.allocate(36), device.allocate(4));
        assert_eq!(device.launch("last_block", 9, 64, 0, &[input, parts, out]), 0);
        let expected: f32 = values.iter().sum();
        let [found] = device.download::<f32>(out, 1)[..] else { panic!("one number") };
        assert!((found - expected).abs() < 1e-3, "{found} {expected}");
    });
}

#[test]
fn bytes_beside_each_other_and_atomics_do_not_race() {
    on_each(&ALL, |device| {
        let bytes: Vec<u8> = (0..512u32).map(|i| (i * i % 251) as u8).collect();
        let (input, copy, bins) =
            (device.upload(&bytes), device.allocate(512), device.upload(&[0u32; 16]));
        assert_eq!(device.launch("histogram", 4, 128, 0, &[input, copy, bins]), 0);
        assert_eq!(device.download::<u8>(copy, 512), bytes);
        let mut expected = [0u32; 16];
        bytes.iter().for_each(|&byte| expected[usize::from(byte) % 16] += 1);
        assert_eq!(device.download::<u32>(bins, 16), expected);
    });
}

#[test]
fn lanes_find_match_and_hand_on_values() {
    on_each(&ALL, |device| {
        let values: Vec<u32> = (0..32).map(|lane| lane * lane % 5).collect();
        let (input, output) = (device.upload(&values), device.upload(&[0u32; 96]));
        assert_eq!(device.launch("matching", 1, 32, 0, &[input, output]), 0);
        let found = device.download::<u32>(output, 96);
        let lanes = |holds: &dyn Fn(u32) -> bool| {
            (0..32).fold(0u32, |mask, lane| mask | u32::from(holds(values[lane])) << lane)
        };
        for lane in 0..32 {
            assert_eq!(found[lane], lanes(&|value| value == values[lane]));
            assert_eq!(found[32 + lane], lanes(&|value| value & 1 != 0));
            assert_eq!(found[64 + lane], if lane < 16 { values[15 - lane] } else { 0 });
        }
    });
}

#[test]
fn matrix_rows_are_dealt_out_plain_and_transposed() {
    on_each(&ALL, |device| {
        let output = device.allocate(256);
        assert_eq!(device.launch("matrix_rows", 1, 32, 0, &[output]), 0);
        let found = device.download::<u32>(output, 64);
        for lane in 0..32u32 {
            let (row, column) = (lane / 4, 2 * (lane % 4));
            let at = |row: u32, column: u32| 8 * row + column;
            let pair = |low: u32, high: u32| low | high << 16;
            assert_eq!(found[lane as usize], pair(at(row, column), at(row, column + 1)));
            assert_eq!(found[32 + lane as usize], pair(at(column, row), at(column + 1, row)));
        }
    });
}

#[test]
fn one_tile_is_read_while_the_next_is_copied() {
    on_each(&[80, 90], |device| {
        let values = numbers(128 * 5);
        let (input, output) = (device.upload(&values), device.allocate(128));
        assert_eq!(device.launch("double_buffer", 1, 32, 0, &[input, output, 5]), 0);
        for (thread, &found) in device.download::<f32>(output, 32).iter().enumerate() {
            let expected: f32 = values.iter().skip(31 - thread).step_by(32).sum();
            assert!((found - expected).abs() < 1e-3, "{thread}: {found} {expected}");
        }
    });
}

#[test]
fn the_last_of_many_readers_may_write() {
    on_each(&ALL, |device| {
        let (value, arrived, out) =
            (device.upload(&[5i32]), device.upload(&[0u32]), device.allocate(4 * 100));
        for expected in [5, 6, 7] {
            assert_eq!(device.launch("last_reader_writes", 100, 32, 0, &[value, arrived, out]), 0);
            assert_eq!(device.download::<i32>(out, 100), [expected; 100]);
        }
    });
}

#[test]
fn a_register_that_is_only_copied_need_not_be_set() {
    on_each(&ALL, |device| {
        let out = device.allocate(128);
        assert_eq!(device.launch("unset_copy", 1, 32, 0, &[out]), 0);
        let expected: Vec<f32> = (0..32).map(|lane| if lane < 16 { 2.0 } else { 0.0 }).collect();
        assert_eq!(device.download::<f32>(out, 32), expected);
    });
}

#[test]
fn a_warpgroup_multiplies_what_lies_swizzled_in_shared_memory() {
    on_each(&[90], |device| {
        let (a, b) = (numbers(64 * 24), numbers(2 * 64 * 24)[64 * 24..][..16 * 24].to_vec());
        let c = numbers(64 * 16);
        let [at_a, at_b, at_c] = [&a, &b, &c].map(|values| device.upload(values));
        assert_eq!(device.launch("group_product", 1, 128, 0, &[at_a, at_b, at_c]), 0);
        // Multiples of 1/32 below 2 are numbers of TF32, and so are all sums here of FP32.
        let expected = (0..64 * 16).map(|i| {
            let terms = (0..24).map(|k| a[i / 16 * 24 + k] * b[i % 16 * 24 + k]);
            c[i] + terms.sum::<f32>()
        });
        assert_eq!(device.download::<f32>(at_c, 64 * 16), expected.collect::<Vec<_>>());
    });
}
