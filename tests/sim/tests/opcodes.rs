//! Single opcodes, from PTX written here, against the same in Rust. Needs no NVRTC.

mod common;

use common::Device;

/// Operands that show edges: zeros, ones, signs, shifts past the width.
const WORDS: [u32; 12] =
    [0, 1, 2, 31, 32, 33, 255, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x1234_5678, 0x9abc_def0];

/// Runs `d = op a, b, c` for every pair of words (and a third made of them).
fn run(body: &str, seed: impl Fn(usize) -> u32) -> Vec<([u32; 3], u32)> {
    let ptx = format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 in, .param .u64 out)\n{{\n\
         .reg .b32 %a, %b, %c, %d, %t;\n.reg .b64 %x, %y, %w, %wa, %wb;\n.reg .pred %p, %q;\n\
         .reg .f64 %fd, %fe;\n.reg .b16 %h;\n\
         ld.param.u64 %x, [in];\nld.param.u64 %y, [out];\nmov.u32 %t, %tid.x;\n\
         mad.wide.u32 %x, %t, 12, %x;\nmad.wide.u32 %y, %t, 4, %y;\n\
         ld.global.u32 %a, [%x];\nld.global.u32 %b, [%x+4];\nld.global.u32 %c, [%x+8];\n\
         {body}\nst.global.u32 [%y], %d;\nret;\n}}\n"
    );
    let device = Device::new(&ptx, 80);
    let triples: Vec<[u32; 3]> =
        (0..144).map(|i| [WORDS[i / 12], WORDS[i % 12], seed(i)]).collect();
    let input = device.upload(&triples.concat());
    let output = device.allocate(4 * 144);
    assert_eq!(device.launch("k", 1, 144, 0, &[input, output]), 0, "{}", device.reports());
    assert_eq!(device.reports(), "");
    triples.into_iter().zip(device.download::<u32>(output, 144)).collect()
}

fn check(body: &str, expected: impl Fn(u32, u32, u32) -> u32) {
    for ([a, b, c], found) in run(body, |i| WORDS[(7 * i + 3) % 12]) {
        let wanted = expected(a, b, c);
        assert_eq!(found, wanted, "{body} of {a:#x}, {b:#x}, {c:#x}: {found:#x}, not {wanted:#x}");
    }
}

#[test]
fn integers_wrap_and_shifts_saturate() {
    check("add.s32 %d, %a, %b;", |a, b, _| a.wrapping_add(b));
    check("sub.s32 %d, %a, %b;", |a, b, _| a.wrapping_sub(b));
    check("mul.lo.s32 %d, %a, %b;", |a, b, _| a.wrapping_mul(b));
    check("mul.hi.u32 %d, %a, %b;", |a, b, _| ((u64::from(a) * u64::from(b)) >> 32) as u32);
    check("mul.hi.s32 %d, %a, %b;", |a, b, _| {
        ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32
    });
    check("mad.lo.s32 %d, %a, %b, %c;", |a, b, c| a.wrapping_mul(b).wrapping_add(c));
    check("shl.b32 %d, %a, %b;", |a, b, _| if b > 31 { 0 } else { a << b });
    check("shr.u32 %d, %a, %b;", |a, b, _| if b > 31 { 0 } else { a >> b });
    check("shr.s32 %d, %a, %b;", |a, b, _| ((a as i32) >> b.min(31)) as u32);
    check("min.s32 %d, %a, %b;", |a, b, _| (a as i32).min(b as i32) as u32);
    check("max.u32 %d, %a, %b;", |a, b, _| a.max(b));
    check("and.b32 %d, %a, %b;", |a, b, _| a & b);
    check("popc.b32 %d, %a;", |a, _, _| a.count_ones());
    check("clz.b32 %d, %a;", |a, _, _| a.leading_zeros());
    check("brev.b32 %d, %a;", |a, _, _| a.reverse_bits());
    check("bfind.u32 %d, %a;", |a, _, _| 31u32.wrapping_sub(a.leading_zeros()));
    check("sad.s32 %d, %a, %b, %c;", |a, b, c| (a as i32).abs_diff(b as i32).wrapping_add(c));
    check("abs.s32 %d, %a;", |a, _, _| (a as i32).wrapping_abs() as u32);
}

#[test]
fn carries_run_through_words() {
    let body = "add.cc.u32 %t, %a, %b;\naddc.u32 %d, %c, 0;";
    check(body, |a, b, c| c.wrapping_add(u32::from(a.checked_add(b).is_none())));
    let body = "sub.cc.u32 %t, %a, %b;\nsubc.u32 %d, %c, 0;";
    check(body, |a, b, c| c.wrapping_sub(u32::from(a < b)));
    let body = "mad.lo.cc.u32 %t, %a, %b, %c;\nmadc.hi.u32 %d, %a, %b, 0;";
    check(body, |a, b, c| ((u64::from(a) * u64::from(b) + u64::from(c)) >> 32) as u32);
}

#[test]
fn bits_are_picked_and_put() {
    check("lop3.b32 %d, %a, %b, %c, 0xCA;", |a, b, c| (a & b) | (!a & c));
    check("lop3.b32 %d, %a, %b, %c, 0x96;", |a, b, c| a ^ b ^ c);
    check("shf.l.wrap.b32 %d, %a, %b, %c;", |a, b, c| {
        (((u64::from(b) << 32 | u64::from(a)) << (c & 31)) >> 32) as u32
    });
    check("shf.r.clamp.b32 %d, %a, %b, %c;", |a, b, c| {
        ((u64::from(b) << 32 | u64::from(a)) >> c.min(32)) as u32
    });
    check("prmt.b32 %d, %a, %b, 0x5410;", |a, b, _| (a & 0xffff) | (b << 16));
    check("prmt.b32 %d, %a, %b, 0x0123;", |a, _, _| a.swap_bytes());
    check("prmt.b32 %d, %a, %b, 0xbbbb;", |a, _, _| if a >> 31 != 0 { u32::MAX } else { 0 });
    check("bfe.u32 %d, %a, 4, 8;", |a, _, _| a >> 4 & 255);
    check("bfe.s32 %d, %a, 4, 8;", |a, _, _| ((a << 20) as i32 >> 24) as u32);
    check("bfi.b32 %d, %a, %b, 8, 16;", |a, b, _| (a & 0xffff) << 8 | (b & 0xff00_00ff));
    check("dp4a.s32.s32 %d, %a, %b, %c;", |a, b, c| {
        let products = a.to_le_bytes().into_iter().zip(b.to_le_bytes());
        products.fold(c, |sum, (a, b)| {
            sum.wrapping_add((i32::from(a as i8) * i32::from(b as i8)) as u32)
        })
    });
}

#[test]
fn predicates_compare_combine_and_select() {
    check("setp.lt.s32 %p, %a, %b;\nselp.b32 %d, %a, %c, %p;", |a, b, c| {
        if (a as i32) < (b as i32) { a } else { c }
    });
    let body = "setp.gt.u32 %q, %a, 32;\nsetp.le.and.u32 %p|%q, %a, %b, %q;\n\
                selp.b32 %d, 1, 0, %p;\n@%q add.s32 %d, %d, 2;";
    check(body, |a, b, _| u32::from(a > 32 && a <= b) + 2 * u32::from(a > 32 && a > b));
    check("mov.b32 %d, 5;\nsetp.eq.u32 %p, %a, %b;\n@!%p mov.b32 %d, %c;", |a, b, c| {
        if a == b { 5 } else { c }
    });
    check("slct.b32.s32 %d, %a, %b, %c;", |a, b, c| if (c as i32) >= 0 { a } else { b });
}

#[test]
fn wide_values_are_packed_divided_and_shifted() {
    check("mov.b64 %w, {%a, %b};\nshr.u64 %w, %w, 16;\ncvt.u32.u64 %d, %w;", |a, b, _| {
        ((u64::from(b) << 32 | u64::from(a)) >> 16) as u32
    });
    let body = "mov.b64 %wa, {%a, %b};\ncvt.u64.u32 %wb, %c;\nadd.s64 %wb, %wb, 1;\n\
                rem.u64 %w, %wa, %wb;\ncvt.u32.u64 %d, %w;";
    check(body, |a, b, c| ((u64::from(b) << 32 | u64::from(a)) % (u64::from(c) + 1)) as u32);
    check("div.s32 %t, %a, 7;\nrem.s32 %d, %a, 7;\nmad.lo.s32 %d, %t, 1000, %d;", |a, _, _| {
        let a = a as i32;
        (a / 7).wrapping_mul(1000).wrapping_add(a % 7) as u32
    });
}

#[test]
fn conversions_round_extend_and_saturate() {
    check("cvt.rn.f32.u32 %d, %a;", |a, _, _| (a as f32).to_bits());
    check("cvt.rn.f32.s32 %d, %a;", |a, _, _| (a as i32 as f32).to_bits());
    check("cvt.rzi.s32.f32 %d, %a;", |a, _, _| f32::from_bits(a) as i32 as u32);
    check("cvt.rni.u32.f32 %d, %a;", |a, _, _| f32::from_bits(a).round_ties_even() as u32);
    check("cvt.s32.s8 %d, %a;", |a, _, _| a as i8 as u32);
    check("cvt.u32.u16 %d, %a;", |a, _, _| a & 0xffff);
    check("cvt.sat.u8.s32 %d, %a;", |a, _, _| (a as i32).clamp(0, 255) as u32);
    check(
        "cvt.rn.f64.s32 %fd, %a;\ndiv.rn.f64 %fd, %fd, 0d4008000000000000;\ncvt.rn.f32.f64 %d, %fd;",
        |a, _, _| ((f64::from(a as i32) / 3.0) as f32).to_bits(),
    );
    // Half precision: to 16 bits and back keeps what fits.
    check("cvt.rn.f32.u32 %t, 1025;\ncvt.rn.f16.f32 %h, %t;\ncvt.f32.f16 %d, %h;", |_, _, _| {
        1025f32.to_bits()
    });
}

#[test]
fn floats_fuse_round_down_and_flush() {
    let floats = |i: usize| (i as f32 * 0.37 - 20.0).to_bits();
    let near = |body: &str, expected: fn(f32, f32, f32) -> f32| {
        let to_float = "cvt.rn.f32.s32 %a, %a;\ncvt.rn.f32.s32 %b, %b;\n";
        for ([a, b, c], found) in run(&format!("{to_float}{body}"), floats) {
            let (a, b, c) = (a as i32 as f32, b as i32 as f32, f32::from_bits(c));
            let wanted = expected(a, b, c);
            assert_eq!(found, wanted.to_bits(), "{body} of {a} {b} {c}: not {wanted}");
        }
    };
    near("fma.rn.f32 %d, %a, %b, %c;", |a, b, c| a.mul_add(b, c));
    near("add.f32 %d, %a, %c;", |a, _, c| a + c);
    near("mul.rn.f32 %d, %a, %c;", |a, _, c| a * c);
    near("min.f32 %d, %b, %c;", |_, b, c| b.min(c));
    near("neg.f32 %d, %c;", |_, _, c| -c);
    near("fma.rm.f32 %d, %a, %c, %b;", |a, b, c| {
        let near = a.mul_add(c, b);
        // The difference is exact: what a double holds of these.
        let exact = i128::from(a as i64) * (f64::from(c) * 2f64.powi(40)) as i128
            + (i128::from(b as i64) << 40);
        let got = (f64::from(near) * 2f64.powi(40)) as i128;
        if exact < got { near.next_down() } else { near }
    });
    // The smallest subnormal is zero to an instruction that flushes.
    check("mov.b32 %t, 1;\nadd.ftz.f32 %d, %t, %t;", |_, _, _| 0);
    check("mov.b32 %t, 1;\nadd.f32 %d, %t, %t;", |_, _, _| 2);
}
