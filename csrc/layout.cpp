// Where this library expects the fields of the structs of lovasz.h, for bindings to compare with
// their own.
#include <cstddef>

#include "lovasz.h"

namespace {

#define AT(field) static_cast<int64_t>(offsetof(LOVASZ_STRUCT, field))
#define SIZE static_cast<int64_t>(sizeof(LOVASZ_STRUCT))

// clang-format off
// Struct by struct in the order of lovasz.h: its size, then the places of its fields.
const int64_t layout[] = {
    LOVASZ_ABI,
#define LOVASZ_STRUCT lovasz_strided
    SIZE, AT(data), AT(image_stride), AT(class_stride), AT(pixel_stride),
#undef LOVASZ_STRUCT
#define LOVASZ_STRUCT lovasz_inputs
    SIZE, AT(scores), AT(target), AT(target_stride), AT(images), AT(classes), AT(length), AT(bins),
    AT(ignore_index), AT(lse), AT(score_type), AT(label_type), AT(has_ignore_index), AT(per_image),
    AT(cross_entropy), AT(smoothing), AT(class_weight), AT(pixel_weight), AT(fixed_weight),
    AT(weight_image_stride), AT(weight_class_stride), AT(target_class_stride), AT(link),
    AT(offsets), AT(clouds), AT(cloud_ids), AT(upsample), AT(source), AT(size), AT(soft),
    AT(soft_type), AT(maps), AT(mixture), AT(label_smoothing), AT(regions),
#undef LOVASZ_STRUCT
#define LOVASZ_STRUCT lovasz_histogram_result
    SIZE, AT(counts), AT(invalid), AT(bad_labels), AT(cross_entropy), AT(regions),
#undef LOVASZ_STRUCT
#define LOVASZ_STRUCT lovasz_sort_result
    SIZE, AT(slopes), AT(losses), AT(positives), AT(pixels), AT(invalid), AT(alpha), AT(beta),
    AT(unit), AT(symmetric), AT(bad_labels),
#undef LOVASZ_STRUCT
#define LOVASZ_STRUCT lovasz_extension
    SIZE, AT(counts), AT(centres), AT(losses), AT(slopes), AT(present), AT(rows), AT(bins), AT(unit),
    AT(alpha), AT(beta), AT(wide), AT(positives),
#undef LOVASZ_STRUCT
#define LOVASZ_STRUCT lovasz_reduction
    SIZE, AT(losses), AT(active), AT(invalid), AT(weight), AT(factors), AT(sums), AT(total),
    AT(cross_entropy), AT(by_sum), AT(groups), AT(classes), AT(mean), AT(normalize), AT(per_image),
    AT(wide),
#undef LOVASZ_STRUCT
};
// clang-format on

}  // namespace

const int64_t *lovasz_layout(int64_t *count) {
  *count = static_cast<int64_t>(sizeof layout / sizeof *layout);
  return layout;
}
