// A CUDA device that is not there: as much of one as torch asks for when fake tensors on it are computed with.
//
// Two things are missing on a machine without a driver. Every operation sets the current device and stream through the
// guard that a device type registers; the one below remembers the device and does nothing else. And the backward pass,
// before it starts a thread for a device, asks the hooks of CUDA whether the device has a context, which starts the
// driver; the copy of the hooks' table of functions below answers that it has none.

#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/Stream.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>

namespace {

using c10::Device;
using c10::DeviceIndex;
using c10::DeviceType;
using c10::Stream;

thread_local DeviceIndex current = 0;

Device pretended(DeviceIndex index) { return Device(DeviceType::CUDA, index < 0 ? current : index); }

struct Guard final : public c10::impl::DeviceGuardImplInterface {
  DeviceType type() const override { return DeviceType::CUDA; }
  DeviceIndex deviceCount() const noexcept override { return 1; }
  Device getDevice() const override { return pretended(current); }
  void setDevice(Device device) const override { current = pretended(device.index()).index(); }
  void uncheckedSetDevice(Device device) const noexcept override { current = pretended(device.index()).index(); }
  Device exchangeDevice(Device device) const override {
    const Device before = getDevice();
    setDevice(device);
    return before;
  }

  Stream getStream(Device device) const override { return Stream(Stream::DEFAULT, pretended(device.index())); }
  Stream getDefaultStream(Device device) const override { return getStream(device); }
  Stream getNewStream(Device device, int) const override { return getStream(device); }
  Stream getStreamFromGlobalPool(Device device, bool) const override { return getStream(device); }
  Stream exchangeStream(Stream stream) const override { return stream; }
  bool queryStream(const Stream&) const override { return true; }
  void synchronizeStream(const Stream&) const override {}

  void record(void**, const Stream&, const DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void synchronizeEvent(void*) const override {}
  void destroyEvent(void*, const DeviceIndex) const noexcept override {}
};

Guard guard;

bool has_no_context(const void*, DeviceIndex) { return false; }

// The Itanium ABI, which gcc and clang follow on Linux: an object starts with the address of its class's functions,
// two words precede the first of them, and a pointer to a virtual function holds one plus its offset in bytes.
constexpr std::size_t before_functions = 2;
constexpr std::size_t functions = 90;  // the interface has fewer

void* const* functions_with(void* const* theirs, std::size_t number, void* replacement) {
  static std::array<void*, before_functions + functions> table;
  std::copy_n(theirs - before_functions, table.size(), table.begin());
  table[before_functions + number] = replacement;
  return table.data() + before_functions;
}

}  // namespace

extern "C" void pretend_cuda() {
  c10::impl::device_guard_impl_registry[static_cast<std::size_t>(DeviceType::CUDA)].store(&guard);

  bool (at::CUDAHooksInterface::*asked)(DeviceIndex) const = &at::CUDAHooksInterface::hasPrimaryContext;
  std::ptrdiff_t offset;
  std::memcpy(&offset, &asked, sizeof(offset));
  auto& hooks = const_cast<at::CUDAHooksInterface&>(at::detail::getCUDAHooks());
  auto& their_functions = reinterpret_cast<void* const*&>(hooks);
  const auto number = static_cast<std::size_t>(offset - 1) / sizeof(void*);
  their_functions = functions_with(their_functions, number, reinterpret_cast<void*>(&has_no_context));
}
