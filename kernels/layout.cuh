// offsetof, which NVRTC 13.0 has neither as a macro nor as a builtin: by the operator that its front end
// makes it of elsewhere, since a plain cast of an address is no constant there.
#pragma once

#define offsetof(type, field) ((unsigned int)__INTADDR__(&((type *)0)->field))
