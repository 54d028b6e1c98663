// Port of cpu_fallback/law/_morphology.py. Erosion is the dilation of the inverted mask, inverted (flip = 1): then
// outside is background for both.
#include "nx47.cuh"

// Dilate along one axis: how many true voxels the window holds is counted as it slides, whatever its length. With `join`
// the result is joined to what `out` holds already: or for a dilation, and for an erosion.
extern "C" __global__ void segment(
    const u8* mask, i64 reach, u8 flip, u8 join, i64 outer, i64 length, i64 inner, i64 march, u8* out) {
  const Line at = line(outer, length, inner, march);
  if (!at.inside) return;
  const u8* source = mask + at.base;
  u8* result = out + at.base;
  i64 number = 0;
  for (i64 i = larger(at.first - reach, 0); i < smaller(at.first + reach, length); i++) {
    number += source[i * inner] ^ flip;
  }
  for (i64 i = at.first; i < at.stop; i++) {
    if (i + reach < length) number += source[(i + reach) * inner] ^ flip;
    u8 reached = number > 0;
    if (join) reached |= result[i * inner] ^ flip;
    result[i * inner] = reached ^ flip;
    if (i - reach >= 0) number -= source[(i - reach) * inner] ^ flip;
  }
}
