//! Every kernel compiles for every architecture, without spills and within the registers that its
//! file promises. Needs NVRTC and no GPU.
//!
//! A kernel file says, each in a line of its own, `// registers: at most N`, of every kernel in it, and
//! `// needs: sm_NN` where the oldest architectures cannot run it, `sm_NNa` where that one alone can.

mod common;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::cuda::nvrtc;
use warpsweep::engine::cuda::launch::Target;
use warpsweep::engine::cuda::program::{Program, all};

const CAPABILITIES: [u32; 7] = [75, 80, 86, 89, 90, 100, 120];

/// What ptxas says of one kernel.
#[derive(Debug, PartialEq, Eq)]
struct Usage {
    kernel: String,
    registers: u32,
    stack: u32,
    spilled: u32,
}

/// The number that stands before a word in a line: `64 bytes stack frame`.
fn before(line: &str, words: &str) -> Option<u32> {
    line[..line.find(words)?].split_whitespace().next_back()?.parse().ok()
}

/// Every kernel in a log of `--ptxas-options=-v`, where its name comes first, then its stack, then
/// its registers.
fn usages(log: &str) -> Vec<Usage> {
    let (mut usages, mut kernel, mut stack, mut spilled) = (Vec::new(), None, None, None);
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            kernel = rest.split('\'').next().map(str::to_owned);
        }
        stack = before(line, " bytes stack frame").or(stack);
        spilled = before(line, " bytes spill stores").or(spilled);
        if let Some(registers) = before(line, " registers,") {
            let (Some(kernel), Some(stack), Some(spilled)) =
                (kernel.take(), stack.take(), spilled.take())
            else {
                panic!("a log of another form: {log}");
            };
            usages.push(Usage { kernel, registers, stack, spilled });
        }
    }
    usages
}

/// What a kernel file states in a line that begins so.
fn stated<'a>(program: &Program<'a>, words: &str) -> Option<&'a str> {
    let mut lines = program.source.lines();
    lines.find_map(|line| Some(line.strip_prefix(words)?.trim_end_matches('.')))
}

/// Whether a kernel file is for GPUs of this capability.
fn is_for(program: &Program<'_>, capability: u32) -> bool {
    let needs = stated(program, "// needs: sm_");
    let number = |digits: &str| digits.parse::<u32>().expect("an architecture");
    needs.is_none_or(|needs| match needs.strip_suffix('a') {
        Some(alone) => capability == number(alone),
        None => capability >= number(needs),
    })
}

#[test]
fn every_kernel_compiles_for_every_architecture_without_spills_and_within_its_registers() {
    let Some(nvrtc) = nvrtc() else { return };
    let mut work = Vec::new();
    for program in all() {
        let bound = stated(&program, "// registers: at most ").and_then(|bound| bound.parse().ok());
        let bound: u32 = bound.unwrap_or_else(|| panic!("{} states no bound", program.name));
        let able = CAPABILITIES.into_iter().filter(|capability| is_for(&program, *capability));
        work.extend(able.map(|capability| (program, capability, bound)));
    }
    assert!(work.len() > CAPABILITIES.len(), "kernels are embedded");

    // NVRTC compiles on as many threads as call it.
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let compile = || {
        while let Some((program, capability, bound)) =
            work.get(next.fetch_add(1, Ordering::Relaxed))
        {
            let failed = |what: String| {
                let what = format!("{} for sm_{capability}: {what}", program.name);
                failures.lock().unwrap().push(what);
            };
            let target = Target::Cubin(*capability);
            let compiled = match nvrtc.compile(program, target, &["--ptxas-options=-v"]) {
                Ok(compiled) => compiled,
                Err(error) => {
                    failed(error.to_string());
                    continue;
                }
            };
            let usages = usages(&compiled.log);
            if usages.is_empty() || compiled.log.contains("warning") {
                failed(format!("no kernel, or a warning: {}", compiled.log));
            }
            for usage in usages {
                if usage.registers > *bound || usage.stack > 0 || usage.spilled > 0 {
                    failed(format!("{usage:?}, registers at most {bound}"));
                }
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(compile))));
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_log_of_ptxas_is_read_kernel_by_kernel() {
    let log = "ptxas info    : 0 bytes gmem\n\
        ptxas info    : Compiling entry function 'one' for 'sm_90'\n\
        ptxas info    : Function properties for one\n\
        ptxas         .     16 bytes stack frame, 12 bytes spill stores, 8 bytes spill loads\n\
        ptxas info    : Used 64 registers, used 1 barriers, 49152 bytes smem\n";
    let one = Usage { kernel: "one".into(), registers: 64, stack: 16, spilled: 12 };
    assert_eq!(usages(log), [one]);
}
