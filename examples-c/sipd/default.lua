-- The routing script that sipd has built in: a registrar and a stateless proxy. Phones register over TCP or UDP and
-- call each other by user name. route(msg) is called for each request; responses find their way back by themselves.

-- An ACK is never answered; everything else must be.
local function answer(msg, code, reason, headers)
  if msg.method ~= "ACK" then
    msg:reply(code, reason, headers)
  end
end

-- Sends the request on. What fails at once is answered here; what fails later (connection refused, timeout) sipd
-- answers itself, also with 503.
local function relay(msg, target)
  local sent, why = msg:relay(target)
  if not sent then
    log(msg.method .. " " .. msg.ruri .. " to " .. target .. ": " .. why)
    answer(msg, 503, "Service Unavailable")
  end
end

function route(msg)
  -- Whoever is to be reached registers: the registrar keeps the contact and the connection it came by.
  if msg.method == "REGISTER" then
    msg:save()
    return
  end

  -- A request inside a dialog, or with a Route, says itself where it goes. Where we cannot go there (a name that only DNS
  -- knows, sips: without TLS) it must not end at a user of ours who happens to have the same name.
  local hop = msg.next_hop
  if hop then
    relay(msg, hop)
    return
  elseif hop == false then
    if msg.next_uri:lower():find("^sips:") then
      answer(msg, 416, "Unsupported URI Scheme")
    else
      answer(msg, 503, "Service Unavailable")
    end
    return
  end

  -- For nobody in particular: that is us.
  if not msg.ruri_user then
    local extension = msg:header("Require") -- we have none (RFC 3261 8.2.2.3)
    if extension and msg.method ~= "CANCEL" then
      answer(msg, 420, "Bad Extension", { Unsupported = extension })
    elseif msg.method == "OPTIONS" then
      answer(msg, 200, "OK", { ["Accept"] = "application/sdp", ["Allow"] =
        "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, MESSAGE, SUBSCRIBE, NOTIFY, REFER, INFO, UPDATE, PRACK" })
    else
      answer(msg, 404, "Not Found")
    end
    return
  end

  -- For a user: over the connection the phone registered by, or to the address it gave. The Request-URI becomes the
  -- phone's contact. When one way fails at once the next is tried.
  local ways = { lookup(msg.ruri) }
  for _, way in ipairs(ways) do
    if msg:relay(way) then
      return
    end
  end
  if #ways > 0 then
    answer(msg, 503, "Service Unavailable")
  elseif msg.method == "OPTIONS" then
    answer(msg, 200, "OK") -- a keep-alive to a name that is not registered is still one to us
  else
    answer(msg, 404, "Not Found")
  end
end
