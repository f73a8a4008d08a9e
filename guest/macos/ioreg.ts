/**
 * BSD name (`disk2`) of the whole disk whose block storage device has the serial, from the text of
 * `ioreg -r -l -w 0 -c IOBlockStorageDevice`: one tree per device, each beginning in the first column; the serial
 * stands among the device's characteristics, and the whole disk is the first medium below it.
 */
export function diskOfSerial(ioreg: string, serial: string): string | undefined {
  for (const tree of ioreg.split(/^(?=\+-o )/m)) {
    const found = /"Serial Number"\s*=\s*"([^"]*)"/.exec(tree)?.[1]?.trim();
    if (found === serial) return /"BSD Name"\s*=\s*"(disk[0-9]+)"/.exec(tree)?.[1];
  }
  return undefined;
}
