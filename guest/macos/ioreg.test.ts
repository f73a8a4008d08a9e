import { expect, test } from 'vitest';
import { diskOfSerial } from './ioreg.ts';

const device = (
  serial: string,
  disk: string,
): string => `+-o AppleVirtIOStorageDevice  <class IOBlockStorageDevice>
  | {
  |   "Device Characteristics" = {"Product Name"="VirtIO Block","Serial Number" = "${serial}  "}
  | }
  +-o IOBlockStorageDriver  <class IOBlockStorageDriver>
    +-o VirtIO Media  <class IOMedia>
      | {
      |   "Whole" = Yes
      |   "BSD Name" = "${disk}"
      | }
      +-o Container  <class IOMedia>
        {
          "BSD Name" = "${disk}s1"
        }

`;

test('finds the whole disk of the device with the serial', () => {
  const text = device('system', 'disk0') + device('shoesvz-seed', 'disk4') + device('other', 'disk5');
  expect(diskOfSerial(text, 'shoesvz-seed')).toBe('disk4');
});

test('finds nothing where there is no such device, or no medium in it', () => {
  expect(diskOfSerial(device('system', 'disk0'), 'shoesvz-seed')).toBeUndefined();
  expect(diskOfSerial('+-o Device\n  "Serial Number" = "shoesvz-seed"\n', 'shoesvz-seed')).toBeUndefined();
  expect(diskOfSerial('', 'shoesvz-seed')).toBeUndefined();
});
