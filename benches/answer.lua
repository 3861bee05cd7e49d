-- Every request is answered 200, over TCP and UDP alike.
function route(msg)
  msg:reply(200, "OK")
end
