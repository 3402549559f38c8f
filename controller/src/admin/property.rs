//! Property Get and Property Set (NVMe-oF 1.1 §3.4, §3.5).

use nvmf_wire::{
    Sqe, Status,
    fabrics::{PropertyGet, PropertySet},
    property::{Cc, PropertyOffset, ShutdownNotification},
};

use crate::association::{
    Association,
    registers::{Effect, Registers},
};

/// The value of a property.
pub(crate) fn get(association: &Association, sqe: &Sqe) -> Result<u64, Status> {
    let PropertyGet { offset, wide } = PropertyGet::parse(sqe)?;
    let state = association.lock();
    let registers = &state.registers;
    let (value, size) = match offset {
        PropertyOffset::CAP => (registers.cap().bits(), 8),
        PropertyOffset::VS => (Registers::VERSION.bits().into(), 4),
        PropertyOffset::CC => (registers.cc().bits().into(), 4),
        PropertyOffset::CSTS => (registers.csts().bits().into(), 4),
        PropertyOffset::CRTO => (registers.crto().bits().into(), 4),
        // CAP.NSSRS is 0, so there is no NSSR; nor any other property.
        _ => return Err(Status::INVALID_FIELD),
    };
    if wide == (size == 8) { Ok(value) } else { Err(Status::INVALID_FIELD) }
}

/// Sets a property; what comes of it, and whether a shutdown is an abrupt one.
pub(crate) fn set(association: &Association, sqe: &Sqe) -> Result<(Effect, bool), Status> {
    match PropertySet::parse(sqe)? {
        PropertySet { offset: PropertyOffset::CC, wide: false, value } => {
            let cc = Cc(value as u32);
            Ok((association.write_cc(cc)?, cc.shn() == ShutdownNotification::ABRUPT))
        }
        // The others are read only, or not there.
        _ => Err(Status::INVALID_FIELD),
    }
}
