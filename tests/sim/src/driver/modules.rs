//! Modules and functions: PTX in, kernels out.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::Arc;

use super::device::{capability, memory_bytes, shared_limits};
use super::state::{Function, Handle, Module, State, state, status, working_device};
use super::{
    INVALID_HANDLE, INVALID_PTX, INVALID_VALUE, NO_BINARY_FOR_GPU, NOT_FOUND, OUT_OF_MEMORY,
    SUCCESS, Status,
};
use crate::decode::decode_all;
use crate::ptx::ast::{self, Space};
use crate::ptx::parser::parse;
use crate::report::announce;

fn load(image: *const c_void) -> Result<u64, Status> {
    // SAFETY: an image is at least a few bytes long; a text ends in a NUL.
    let start = unsafe { std::slice::from_raw_parts(image.cast::<u8>(), 4) };
    if start == b"\x7fELF" || start[..2] == [0x50, 0xed] {
        announce(
            "simulated device: a module is a cubin; compile to PTX (compute_XX) for this device",
        );
        return Err(NO_BINARY_FOR_GPU);
    }
    // SAFETY: as above.
    let text = unsafe { CStr::from_ptr(image.cast()) };
    let text = text.to_str().map_err(|_| INVALID_PTX)?;
    let syntax = parse(text).map_err(|error| refused(&error.to_string()))?;
    if syntax.target > capability() {
        announce(&format!("simulated device: PTX for sm_{} on sm_{}", syntax.target, capability()));
        return Err(NO_BINARY_FOR_GPU);
    }
    let mut state = state();
    let device = working_device(&state)?;
    let (symbols, variables) = place(&mut state, device, &syntax)?;
    let kernels = decode_all(&syntax, &symbols).map_err(|error| refused(&error.to_string()))?;
    let kernels = kernels.into_iter().map(|kernel| (kernel.name.clone(), Arc::new(kernel)));
    let module = Module { variables, kernels: kernels.collect() };
    let handle = state.new_handle();
    state.modules.insert(handle, module);
    Ok(handle)
}

fn refused(what: &str) -> Status {
    announce(&format!("simulated device: {what}"));
    INVALID_PTX
}

/// Addresses of a module's variables, for its code, and for its host: (address, bytes).
type Placed = (HashMap<String, (Space, u64)>, HashMap<String, (u64, u64)>);

/// Puts a module's variables into memory.
fn place(state: &mut State, device: usize, syntax: &ast::Module) -> Result<Placed, Status> {
    let mut symbols = HashMap::new();
    let mut variables = HashMap::new();
    let in_memory =
        |variable: &&ast::Variable| matches!(variable.space, Space::Global | Space::Const);
    for variable in syntax.variables.iter().filter(in_memory) {
        let bytes = u64::from(variable.bytes.max(1));
        let address = state.memory.allocate(device, bytes, memory_bytes()).ok_or(OUT_OF_MEMORY)?;
        symbols.insert(variable.name.clone(), (variable.space, address));
        variables.insert(variable.name.clone(), (address, u64::from(variable.bytes)));
    }
    for variable in syntax.variables.iter().filter(in_memory) {
        let mut initial = variable.initial.clone();
        initial.resize(variable.bytes.max(1) as usize, 0);
        for (at, name) in &variable.addresses {
            let (_, address) = symbols.get(name).copied().ok_or(INVALID_PTX)?;
            initial[*at as usize..*at as usize + 8].copy_from_slice(&address.to_le_bytes());
        }
        let address = symbols[&variable.name].1;
        let (allocation, _) = state.memory.find(address, 1).map_err(|_| INVALID_PTX)?;
        allocation.data_mut().copy_from_slice(&initial);
        allocation.shadow.mark_all();
        allocation.constant = variable.space == Space::Const;
    }
    // Shared memory whose size the launch gives begins after what the kernel declares; which is
    // known only when the kernel is decoded.
    for variable in syntax.variables.iter().filter(|variable| variable.space == Space::Shared) {
        if variable.bytes == 0 {
            symbols.insert(variable.name.clone(), (Space::Shared, crate::decode::DYNAMIC_SHARED));
        }
    }
    Ok((symbols, variables))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleLoadData(module: *mut Handle, image: *const c_void) -> Status {
    if image.is_null() {
        return INVALID_VALUE;
    }
    // SAFETY: the caller gives a place for a handle.
    status(load(image).map(|handle| unsafe { *module = handle as Handle }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleLoadDataEx(
    module: *mut Handle,
    image: *const c_void,
    _count: u32,
    _options: *mut c_int,
    _values: *mut *mut c_void,
) -> Status {
    // SAFETY: as above.
    unsafe { cuModuleLoadData(module, image) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleUnload(module: Handle) -> Status {
    let mut state = state();
    let Some(module) = state.modules.remove(&(module as u64)) else { return INVALID_HANDLE };
    for (address, _) in module.variables.into_values() {
        state.memory.free(address);
    }
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleGetFunction(
    function: *mut Handle,
    module: Handle,
    name: *const c_char,
) -> Status {
    let mut state = state();
    // SAFETY: the caller gives a text that ends in a NUL.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
    let Some(module) = state.modules.get(&(module as u64)) else { return INVALID_HANDLE };
    let Some(kernel) = module.kernels.get(&name).cloned() else { return NOT_FOUND };
    let handle = state.new_handle();
    let dynamic_shared = shared_limits().0.saturating_sub(kernel.shared_bytes);
    state.functions.insert(handle, Function { kernel, dynamic_shared });
    // SAFETY: the caller gives a place for a handle.
    unsafe { *function = handle as Handle };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleGetGlobal_v2(
    address: *mut u64,
    bytes: *mut usize,
    module: Handle,
    name: *const c_char,
) -> Status {
    let state = state();
    // SAFETY: the caller gives a text that ends in a NUL.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
    let Some(module) = state.modules.get(&(module as u64)) else { return INVALID_HANDLE };
    let Some(&(found, size)) = module.variables.get(&name) else { return NOT_FOUND };
    if !address.is_null() {
        // SAFETY: the caller gives a place for an address.
        unsafe { *address = found };
    }
    if !bytes.is_null() {
        // SAFETY: the caller gives a place for a number.
        unsafe { *bytes = size as usize };
    }
    SUCCESS
}

/// Offset and size of a kernel's parameter, so that a host can check its argument list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuFuncGetParamInfo(
    function: Handle,
    index: usize,
    offset: *mut usize,
    size: *mut usize,
) -> Status {
    let state = state();
    let Some(function) = state.functions.get(&(function as u64)) else { return INVALID_HANDLE };
    let Some(&(at, bytes)) = function.kernel.params.get(index) else { return INVALID_VALUE };
    for (place, value) in [(offset, at), (size, bytes)] {
        if !place.is_null() {
            // SAFETY: the caller gives places for numbers, or none.
            unsafe { *place = value as usize };
        }
    }
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuFuncGetAttribute(
    value: *mut c_int,
    attribute: c_int,
    function: Handle,
) -> Status {
    let state = state();
    let Some(function) = state.functions.get(&(function as u64)) else { return INVALID_HANDLE };
    let answer = match attribute {
        0 => function.kernel.max_threads.unwrap_or(1024),
        1 => function.kernel.shared_bytes,
        3 => function.kernel.local_bytes,
        4 => 32,
        5 | 6 => capability(),
        8 => function.dynamic_shared,
        _ => 0,
    };
    // SAFETY: the caller gives a place for a number.
    unsafe { *value = answer as c_int };
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuFuncSetAttribute(function: Handle, attribute: c_int, value: c_int) -> Status {
    let mut state = state();
    let Some(function) = state.functions.get_mut(&(function as u64)) else { return INVALID_HANDLE };
    if attribute == 8 {
        let most = shared_limits().1.saturating_sub(function.kernel.shared_bytes);
        if value < 0 || value as u32 > most {
            return INVALID_VALUE;
        }
        function.dynamic_shared = value as u32;
    }
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuFuncSetCacheConfig(_function: Handle, _config: c_int) -> Status {
    SUCCESS
}
